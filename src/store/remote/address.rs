//! From the place that a user names to a folder or a bucket, and from the environment to the client that speaks to it.
//!
//! Credentials and endpoints come from the variables that each vendor's own tools read (`AWS_ACCESS_KEY_ID`,
//! `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, …), as the `object_store` crate reads
//! them; never from the URL, which stands in logs and shells' histories.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use super::super::StoreError;
use super::credentials::{azure_lacks, google_lacks, s3_lacks};
use super::trouble::innermost;
use crate::job::without_secrets;
use crate::sha256::Digest;

/// A request may take this long: 16 MiB over a line of half a megabit a second.
const REQUEST_WITHIN: &str = "300s";
/// The longest that a bucket's host may take to answer a connection.
const CONNECT_WITHIN: &str = "10s";
/// How many characters of a bucket and its prefix are repeated in the name of its staging folder.
const NAME_SHOWN: usize = 60;
/// How many digits of the address's digest tell staging folders apart.
const NAME_DIGITS: usize = 8;

/// The variables that say at which service a bucket is.
const SERVICES: [&str; 7] = [
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AZURE_ENDPOINT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ENDPOINT",
    "GOOGLE_BASE_URL",
];

/// Where an archive lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Place {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(Address),
}

/// A bucket, and where in it an archive lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Address {
    url: Url,
    vendor: Vendor,
    pub(super) prefix: ObjectPath,
    /// As it is shown, without a slash at its end.
    pub(super) place: String,
}

/// Whose bucket it is, or whose it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    S3,
    Google,
    Azure,
}

/// The two faces of one client.
pub(super) type Client = (Arc<dyn ObjectStore>, Arc<dyn PaginatedListStore>);

impl Place {
    /// What a place names.
    ///
    /// | place | is |
    /// | --- | --- |
    /// | `s3://bucket/prefix`, `s3a:` | a bucket of S3 or of what speaks like it |
    /// | `gs://bucket/prefix` | a bucket of Google Cloud Storage |
    /// | `az://container/prefix`, `abfs:`, `abfss:` | a container of Azure Blob Storage |
    /// | `file:///folder` | that folder |
    /// | any other `word://` | refused |
    /// | nothing at all | refused |
    /// | all else | a folder |
    pub(in crate::store) fn of(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            let why = "it names no folder; this one is `.`".into();
            return Err(StoreError::BadPlace { place: "\"\"".into(), why });
        }
        let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            return Ok(Self::Folder(text.into()));
        };
        let refused = |why: &str| {
            let bare = text.split(['?', '#']).next().unwrap_or_default();
            let shown =
                bare.rsplit_once('@').map_or(bare.to_owned(), |(_, rest)| format!("{scheme}://{rest}"));
            StoreError::BadPlace { place: shown, why: why.into() }
        };
        let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
        let vendor = match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| refused("write file:///folder"))?;
                return Ok(Self::Folder(path));
            }
            "s3" | "s3a" => Vendor::S3,
            "gs" => Vendor::Google,
            "az" | "abfs" | "abfss" => Vendor::Azure,
            _ => return Err(refused("write s3://, gs://, az:// or file:///, or a folder's path")),
        };
        // `abfss://container@account…` is Azure's own way of naming a container.
        let names_a_user = !url.username().is_empty() && vendor != Vendor::Azure;
        if names_a_user || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(refused("credentials and options belong into the environment, not into the address"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refused("it names no bucket"));
        }
        let prefix = ObjectPath::from_url_path(url.path()).map_err(|error| refused(&error.to_string()))?;
        let place = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self::Bucket(Address { url, vendor, prefix, place }))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl Address {
    /// The name of the folder in which parts wait for this archive: the same for the same address at the same service,
    /// and for no other.
    pub(super) fn folder_name(&self) -> String {
        self.folder_name_at(&services())
    }

    fn folder_name_at(&self, services: &str) -> String {
        let plain =
            |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        let shown: String =
            without_secrets(&self.url).replace("://", "-").chars().map(plain).take(NAME_SHOWN).collect();
        let digest = Digest::of(format!("{}{services}", self.place).as_bytes()).to_string();
        format!("{}-{}", shown.trim_end_matches('-'), &digest[..NAME_DIGITS])
    }

    /// The client for this bucket, set up from the environment, with so much patience. Sends nothing.
    pub(super) fn connect(&self, patience: Patience) -> Result<Client, StoreError> {
        // Another part of the program may have chosen a provider already, and then that one holds.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match self.vendor {
            Vendor::S3 => self.connect_s3(patience),
            Vendor::Google => {
                let builder = GoogleCloudStorageBuilder::from_env()
                    .with_url(self.url.as_str())
                    .with_retry(patience.retries());
                let builder = client_settings("GOOGLE").into_iter().fold(builder, |builder, (key, value)| {
                    builder.with_config(GoogleConfigKey::Client(key), value)
                });
                if let Some(why) = google_lacks(&builder) {
                    return Err(self.bad(why));
                }
                let again = builder.clone().with_config(GoogleConfigKey::Client(NO_CERTIFICATES), "true");
                self.built(builder.build().or_else(|_| again.build()))
            }
            Vendor::Azure => {
                let builder = MicrosoftAzureBuilder::from_env()
                    .with_url(self.url.as_str())
                    .with_retry(patience.retries());
                let builder = client_settings("AZURE").into_iter().fold(builder, |builder, (key, value)| {
                    builder.with_config(AzureConfigKey::Client(key), value)
                });
                if let Some(why) = azure_lacks(&builder, &self.url) {
                    return Err(self.bad(why));
                }
                let again = builder.clone().with_config(AzureConfigKey::Client(NO_CERTIFICATES), "true");
                self.built(builder.build().or_else(|_| again.build()))
            }
        }
    }

    fn connect_s3(&self, patience: Patience) -> Result<Client, StoreError> {
        let builder = AmazonS3Builder::from_env()
            .with_url(self.url.as_str())
            .with_retry(patience.retries())
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // Some stores that speak S3 lack the bulk call, and an archive removes few files.
            .with_disable_bulk_delete(true);
        let mut builder = client_settings("AWS").into_iter().fold(builder, |builder, (key, value)| {
            builder.with_config(AmazonS3ConfigKey::Client(key), value)
        });
        if builder.get_config_value(&AmazonS3ConfigKey::Checksum).is_none() {
            builder = builder.with_checksum_algorithm(Checksum::SHA256);
        }
        if let Some(why) = s3_lacks(&builder) {
            return Err(self.bad(why));
        }
        let again = builder.clone().with_config(AmazonS3ConfigKey::Client(NO_CERTIFICATES), "true");
        self.built(builder.build().or_else(|_| again.build()))
    }

    fn built<S: ObjectStore + PaginatedListStore>(
        &self,
        built: object_store::Result<S>,
    ) -> Result<Client, StoreError> {
        let why = |error| format!("{}; {}", innermost(&error), self.vendor.settings());
        let store = built.map_err(|error| self.bad(why(error)))?;
        let store = Arc::new(store);
        Ok((Arc::clone(&store) as Arc<dyn ObjectStore>, store))
    }

    fn bad(&self, why: impl Into<String>) -> StoreError {
        StoreError::BadPlace { place: self.place.clone(), why: why.into() }
    }
}

/// A system without certificates can still speak plain HTTP to a bucket next door.
const NO_CERTIFICATES: ClientConfigKey = ClientConfigKey::NoSystemCertificates;

/// How long a store is put up with that answers 503, drops connections or does not answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Seconds: at first it is more likely that the address is wrong.
    Short,
    /// Two minutes: a run of hours is not to end because of one of them.
    Long,
}

impl Patience {
    fn retries(self) -> RetryConfig {
        let (max_retries, seconds) = match self {
            Self::Short => (3, 20),
            Self::Long => (10, 120),
        };
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(200),
                max_backoff: Duration::from_secs(10),
                base: 2.0,
            },
            max_retries,
            retry_timeout: Duration::from_secs(seconds),
        }
    }
}

/// Settings of every client, but for those that the environment gives.
fn client_settings(vendor: &str) -> Vec<(ClientConfigKey, &'static str)> {
    let settings = [
        ("TIMEOUT", ClientConfigKey::Timeout, REQUEST_WITHIN),
        ("CONNECT_TIMEOUT", ClientConfigKey::ConnectTimeout, CONNECT_WITHIN),
        // The crate's own word on this is not the same for each vendor.
        ("ALLOW_HTTP", ClientConfigKey::AllowHttp, "false"),
        ("USER_AGENT", ClientConfigKey::UserAgent, concat!("vfetch/", env!("CARGO_PKG_VERSION"))),
    ];
    let free = |(name, key, value)| (!is_set(&format!("{vendor}_{name}"))).then_some((key, value));
    settings.into_iter().filter_map(free).collect()
}

/// Where buckets are, as far as the environment says so: the same name means another bucket at another service.
#[expect(clippy::disallowed_methods, reason = "what the clients are set up from")]
fn services() -> String {
    let set = |name: &&str| std::env::var(name).ok().map(|value| format!("\n{name}={value}"));
    SERVICES.iter().filter_map(set).collect()
}

pub(super) fn is_set(name: &str) -> bool {
    std::env::vars_os().any(|(found, _)| found == name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn address(text: &str) -> Address {
        match Place::of(text).unwrap() {
            Place::Bucket(address) => address,
            Place::Folder(path) => panic!("{} is a folder", path.display()),
        }
    }

    #[test]
    fn a_place_is_a_folder_or_a_bucket_with_a_prefix() {
        let buckets = [
            ("s3://clips", "", "s3://clips"),
            ("s3://clips/", "", "s3://clips"),
            ("s3://clips/2026/may/", "2026/may", "s3://clips/2026/may"),
            ("s3a://clips/a%20b", "a b", "s3a://clips/a%20b"),
            ("gs://clips/a", "a", "gs://clips/a"),
            ("az://clips/a", "a", "az://clips/a"),
            (
                "abfss://clips@account.dfs.core.windows.net/a",
                "a",
                "abfss://clips@account.dfs.core.windows.net/a",
            ),
            ("s3://clips/a/../b", "b", "s3://clips/b"),
        ];
        for (text, prefix, place) in buckets {
            let address = address(text);
            assert_eq!((address.prefix.as_ref(), address.place.as_str()), (prefix, place), "{text}");
        }
        let folders = [
            ("out", "out"),
            ("/a/b", "/a/b"),
            ("./s3:/x", "./s3:/x"),
            ("file:///a/b", "/a/b"),
            ("1x://y", "1x://y"),
        ];
        for (text, path) in folders {
            assert_eq!(Place::of(text).unwrap(), Place::Folder(path.into()), "{text}");
        }
    }

    #[test]
    fn a_place_that_is_neither_is_refused_without_repeating_its_secrets() {
        let refused = [
            "http://host/bucket",
            "ftp://host/x",
            "memory://x",
            "s3://",
            "s3:///prefix",
            "s3://AKIA:topsecret@bucket/x",
            "s3://topsecret@bucket",
            "s3://bucket/x?token=topsecret",
            "az://topsecret:pass@account/x",
            "s3://bucket/a//b",
            "file://host/x",
        ];
        for text in refused {
            let error = Place::of(text).unwrap_err();
            assert!(matches!(error, StoreError::BadPlace { .. }), "{text}: {error}");
            assert!(!error.to_string().contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn each_address_stages_in_a_folder_of_its_own() {
        let names = ["s3://clips", "s3://clips/a", "s3://clips/a-b", "s3://clips/a/b", "gs://clips/a"]
            .map(|text| address(text).folder_name());
        assert!(names[0].starts_with("s3-clips-") && names[3].starts_with("s3-clips-a-b-"), "{names:?}");
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert_eq!(address("s3://clips/a/").folder_name(), names[1]);
        assert_ne!(address("s3://clips/a").folder_name_at("\nAWS_ENDPOINT=http://minio"), names[1]);
        let long = address(&format!("s3://clips/{}", "x".repeat(300))).folder_name();
        assert!(long.len() < 80, "{long}");
    }
}
