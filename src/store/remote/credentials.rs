//! What the environment lacks to speak to a bucket, told before a request is made, and in the words of its variables.
//!
//! The `object_store` crate would find out too, but late: its last hope is always a machine of the vendor's own, and
//! what that does not answer it reports as a connection that failed.

use std::net::TcpStream;
use std::time::Duration;

use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use url::Url;

use super::address::Vendor;

impl Vendor {
    /// How credentials are given.
    pub(super) fn way_in(self) -> &'static str {
        match self {
            Self::S3 => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profiles and files in ~/.aws are not read)"
            }
            Self::Google => {
                "set GOOGLE_SERVICE_ACCOUNT to the file with a service account's key, or log in with `gcloud auth \
                 application-default login`"
            }
            Self::Azure => {
                "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID, AZURE_CLIENT_ID and \
                 AZURE_CLIENT_SECRET"
            }
        }
    }

    /// Where to look when the client cannot be made of what is set.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::S3 => "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the other AWS_ variables",
            Self::Google => {
                "look at GOOGLE_SERVICE_ACCOUNT, GOOGLE_APPLICATION_CREDENTIALS and the other GOOGLE_ variables"
            }
            Self::Azure => "look at AZURE_STORAGE_ACCOUNT_KEY and the other AZURE_ variables",
        }
    }

    fn without_credentials(self) -> String {
        format!("there are no credentials; {}", self.way_in())
    }

    /// What is wrong with an endpoint that was set, on which the crate may well panic.
    fn endpoint_lacks(self, endpoint: Option<String>, allow_http: Option<String>) -> Option<String> {
        let (vendor, named_by) = match self {
            Self::S3 => ("AWS", "AWS_ENDPOINT_URL"),
            Self::Google => ("GOOGLE", "GOOGLE_BASE_URL"),
            Self::Azure => ("AZURE", "AZURE_STORAGE_ENDPOINT"),
        };
        let scheme = Url::parse(&endpoint?).ok().filter(Url::has_host).map(|url| url.scheme().to_owned());
        match scheme.as_deref() {
            Some("https") => None,
            Some("http") if is_yes(allow_http) => None,
            Some("http") => Some(format!(
                "its endpoint is not encrypted; set {vendor}_ALLOW_HTTP=true where that is what you want"
            )),
            _ => Some(format!("its endpoint is no address; let {named_by} begin with https://")),
        }
    }

    /// Whose machine, or whose tool on this one, was asked for credentials in vain, if a refusal is about that.
    pub(super) fn asked_for_credentials(refusal: &str) -> Option<Self> {
        if refusal.contains("metadata.google.internal") || refusal.contains("computeMetadata/v1") {
            Some(Self::Google)
        } else if [AZURE_MACHINE, AZURE_TOOL].iter().any(|word| refusal.contains(word)) {
            Some(Self::Azure)
        } else {
            refusal.contains(METADATA_HOST).then_some(Self::S3)
        }
    }
}

/// What keeps a client of S3 from working.
pub(super) fn s3_lacks(builder: &AmazonS3Builder) -> Option<String> {
    let value = |key| builder.get_config_value(&key);
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
    let allow_http = value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    let lack = Vendor::S3.endpoint_lacks(endpoint, allow_http);
    if lack.is_some() {
        return lack;
    }
    let has = |key| value(key).is_some();
    match (has(AmazonS3ConfigKey::AccessKeyId), has(AmazonS3ConfigKey::SecretAccessKey)) {
        (true, true) => return None,
        (true, false) => return Some("AWS_ACCESS_KEY_ID is set; set AWS_SECRET_ACCESS_KEY too".into()),
        (false, true) => return Some("AWS_SECRET_ACCESS_KEY is set; set AWS_ACCESS_KEY_ID too".into()),
        (false, false) => {}
    }
    let somewhere = has(AmazonS3ConfigKey::WebIdentityTokenFile)
        || has(AmazonS3ConfigKey::ContainerCredentialsRelativeUri)
        || has(AmazonS3ConfigKey::ContainerCredentialsFullUri)
        || is_yes(value(AmazonS3ConfigKey::SkipSignature));
    let machine = value(AmazonS3ConfigKey::MetadataEndpoint).unwrap_or_else(|| METADATA_SERVICE.into());
    (!somewhere && !answers(&machine)).then(|| Vendor::S3.without_credentials())
}

/// What keeps a client of Google Cloud Storage from working.
pub(super) fn google_lacks(builder: &GoogleCloudStorageBuilder) -> Option<String> {
    let value = |key| builder.get_config_value(&key);
    let files = [
        ("GOOGLE_SERVICE_ACCOUNT", value(GoogleConfigKey::ServiceAccount)),
        ("GOOGLE_APPLICATION_CREDENTIALS", value(GoogleConfigKey::ApplicationCredentials)),
    ];
    let mut account = value(GoogleConfigKey::ServiceAccountKey);
    let mut somewhere = account.is_some()
        || value(GoogleConfigKey::BearerToken).is_some()
        || is_yes(value(GoogleConfigKey::SkipSignature));
    for (name, file) in files.into_iter().filter_map(|(name, file)| Some((name, file?))) {
        match read(&file) {
            Ok(text) => account = account.or(Some(text)),
            Err(error) => return Some(format!("{name} names {file}: {error}")),
        }
        somewhere = true;
    }
    // For trials the key of an account may name another server than Google's.
    let account: Option<serde_json::Value> = account.and_then(|text| serde_json::from_str(&text).ok());
    let named = account.as_ref().and_then(|account| account["gcs_base_url"].as_str()).map(str::to_owned);
    let endpoint = value(GoogleConfigKey::BaseUrl).or(named);
    let allow_http = value(GoogleConfigKey::Client(ClientConfigKey::AllowHttp));
    let lack = Vendor::Google.endpoint_lacks(endpoint, allow_http);
    if lack.is_some() {
        return lack;
    }
    let another_machine = ["GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"];
    let elsewhere = is_logged_in() || another_machine.into_iter().any(super::address::is_set);
    (!somewhere && !elsewhere && !answers(METADATA_SERVICE)).then(|| Vendor::Google.without_credentials())
}

/// What keeps a client of Azure Blob Storage from working; the address may name the account.
pub(super) fn azure_lacks(builder: &MicrosoftAzureBuilder, address: &Url) -> Option<String> {
    let value = |key| builder.get_config_value(&key);
    if is_yes(value(AzureConfigKey::UseEmulator)) {
        return None;
    }
    if value(AzureConfigKey::AccountName).is_none() && address.username().is_empty() {
        return Some("it names no account; set AZURE_STORAGE_ACCOUNT_NAME".into());
    }
    let allow_http = value(AzureConfigKey::Client(ClientConfigKey::AllowHttp));
    let lack = Vendor::Azure.endpoint_lacks(value(AzureConfigKey::Endpoint), allow_http);
    if lack.is_some() {
        return lack;
    }
    let somewhere = [
        AzureConfigKey::AccessKey,
        AzureConfigKey::SasKey,
        AzureConfigKey::Token,
        AzureConfigKey::ClientId,
        AzureConfigKey::MsiEndpoint,
        AzureConfigKey::FabricTokenServiceUrl,
        AzureConfigKey::CredentialType,
    ];
    let somewhere = somewhere.into_iter().any(|key| value(key).is_some())
        || is_yes(value(AzureConfigKey::UseAzureCli))
        || is_yes(value(AzureConfigKey::SkipSignature));
    (!somewhere && !answers(METADATA_SERVICE)).then(|| Vendor::Azure.without_credentials())
}

/// As the crate reads a switch.
fn is_yes(word: Option<String>) -> bool {
    word.is_some_and(|word| ["1", "true", "on", "yes", "y"].contains(&word.to_ascii_lowercase().as_str()))
}

/// Where clouds give their own machines credentials; the last place that is tried.
const METADATA_HOST: &str = "169.254.169.254";
const AZURE_MACHINE: &str = "169.254.169.254/metadata/identity";
/// What the crate runs where `AZURE_USE_AZURE_CLI` says so.
const AZURE_TOOL: &str = "'az account get-access-token'";
const METADATA_SERVICE: &str = "http://169.254.169.254";

/// Whether a machine answers: the vendor's own does so at once or not at all.
fn answers(endpoint: &str) -> bool {
    /// It is a hop away, if it is there.
    const WITHIN: Duration = Duration::from_secs(1);
    let addresses = Url::parse(endpoint).ok().and_then(|url| url.socket_addrs(|| None).ok());
    addresses.into_iter().flatten().any(|address| TcpStream::connect_timeout(&address, WITHIN).is_ok())
}

#[expect(clippy::disallowed_methods, reason = "a file of the user's, which is no part of any archive")]
fn read(file: &str) -> std::io::Result<String> {
    std::fs::read_to_string(file)
}

/// Whether Google's own tool has left a login where the crate looks for one.
#[expect(clippy::disallowed_methods, reason = "that place is below the user's home, as for every program")]
fn is_logged_in() -> bool {
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    home.is_some_and(|home| home.join(".config/gcloud/application_default_credentials.json").exists())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn what_s3_lacks_is_told_by_its_variables() {
        let s3 = AmazonS3Builder::new().with_metadata_endpoint("http://127.0.0.1:9");
        let table = [
            (s3.clone(), Some("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profiles")),
            (s3.clone().with_access_key_id("x"), Some("set AWS_SECRET_ACCESS_KEY too")),
            (s3.clone().with_secret_access_key("x"), Some("set AWS_ACCESS_KEY_ID too")),
            (s3.clone().with_endpoint("http://h"), Some("set AWS_ALLOW_HTTP=true")),
            (s3.clone().with_endpoint("localhost:9000"), Some("let AWS_ENDPOINT_URL begin with https://")),
            (s3.clone().with_endpoint("minio"), Some("let AWS_ENDPOINT_URL begin with https://")),
            (s3.clone().with_endpoint("https://"), Some("let AWS_ENDPOINT_URL begin with https://")),
            (s3.clone().with_access_key_id("x").with_secret_access_key("x"), None),
            (s3.with_skip_signature(true), None),
        ];
        for (builder, want) in table {
            told(s3_lacks(&builder).as_deref(), want);
        }
    }

    #[test]
    fn what_google_lacks_is_told_by_its_variables() {
        let no_http = GoogleConfigKey::Client(ClientConfigKey::AllowHttp);
        let google = || GoogleCloudStorageBuilder::new().with_config(no_http, "false");
        let plain = r#"{"gcs_base_url": "http://h"}"#;
        let table = [
            (
                google().with_service_account_path("/no/such"),
                Some("GOOGLE_SERVICE_ACCOUNT names /no/such: No"),
            ),
            (
                google().with_application_credentials("/no/such"),
                Some("GOOGLE_APPLICATION_CREDENTIALS names /no/such: No"),
            ),
            (google().with_service_account_key(plain), Some("set GOOGLE_ALLOW_HTTP=true")),
            (google().with_service_account_key(plain).with_config(no_http, "true"), None),
            (google().with_base_url("h:1"), Some("let GOOGLE_BASE_URL begin with https://")),
            (google().with_service_account_key("{}"), None),
            (google().with_bearer_token("x"), None),
            (google().with_skip_signature(true), None),
        ];
        for (builder, want) in table {
            told(google_lacks(&builder).as_deref(), want);
        }
    }

    #[test]
    fn what_azure_lacks_is_told_by_its_variables() {
        let (azure, bare) = (MicrosoftAzureBuilder::new, "az://clips");
        let with_key = || azure().with_access_key("eA==");
        let named = "abfss://clips@account.dfs.core.windows.net";
        let table = [
            (azure(), bare, Some("set AZURE_STORAGE_ACCOUNT_NAME")),
            (with_key(), bare, Some("set AZURE_STORAGE_ACCOUNT_NAME")),
            (with_key(), named, None),
            (with_key().with_account("a"), bare, None),
            (
                with_key().with_account("a").with_endpoint("http://h".into()),
                bare,
                Some("set AZURE_ALLOW_HTTP=true"),
            ),
            (azure().with_use_emulator(true), bare, None),
            (azure().with_account("a").with_skip_signature(true), bare, None),
        ];
        for (builder, address, want) in table {
            told(azure_lacks(&builder, &Url::parse(address).unwrap()).as_deref(), want);
        }
    }

    fn told(lack: Option<&str>, want: Option<&str>) {
        match want {
            Some(want) => assert!(lack.is_some_and(|lack| lack.contains(want)), "{want}: {lack:?}"),
            None => assert_eq!(lack, None),
        }
    }

    #[test]
    fn whose_machine_was_asked_is_told_by_the_request() {
        let table = [
            ("GET http://metadata.google.internal/computeMetadata/v1/instance/…", Some(Vendor::Google)),
            ("GET http://169.254.169.254/computeMetadata/v1/instance/…", Some(Vendor::Google)),
            ("GET http://169.254.169.254/metadata/identity/oauth2/token?…", Some(Vendor::Azure)),
            ("'az account get-access-token' command failed: Please run 'az login'", Some(Vendor::Azure)),
            ("PUT http://169.254.169.254/latest/api/token", Some(Vendor::S3)),
            ("GET https://clips.s3.amazonaws.com/147/manifest.json", None),
        ];
        for (text, want) in table {
            assert_eq!(Vendor::asked_for_credentials(text), want, "{text}");
        }
    }
}
