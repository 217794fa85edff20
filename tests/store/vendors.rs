//! The other vendors' buckets, Azure's, and Google's by way of [`super::google`]: the program itself on them, what it says
//! where it cannot use one, and answers that are lost.

use std::path::Path;
use std::sync::Arc;

use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use super::google::{Translator, google_client, service_account};
use super::places::{Place, job, record};
use super::program::{TwoJobs, copy_down};
use super::proxy::Fault::{Answer, AnswerAfter, LoseAnswer};
use super::proxy::Proxy;
use super::servers::{AZURE_ACCOUNT, AZURE_KEY, azure_client, azure_server, new_container};
use super::support::{Get, Mirror, World};

/// A world whose archive is a bucket.
struct Cloud {
    world: World,
    place: String,
    settings: Vec<(&'static str, String)>,
    objects: Arc<dyn ObjectStore>,
}

impl Cloud {
    /// `None` where there is no Azure server.
    fn azure() -> Option<Self> {
        let server = azure_server()?;
        let container = new_container(server);
        let settings = vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", format!("http://{server}/{AZURE_ACCOUNT}")),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ];
        Some(Self::new(
            format!("az://{container}/clips"),
            settings,
            Arc::new(azure_client(server, &container)),
        ))
    }

    /// `None` where there is no S3 server behind the translator.
    fn google() -> Option<Self> {
        let Translator { address, bucket } = Translator::new()?;
        let settings = vec![
            ("GOOGLE_SERVICE_ACCOUNT_KEY", service_account(address)),
            ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
        ];
        Some(Self::new(format!("gs://{bucket}/clips"), settings, Arc::new(google_client(address, &bucket))))
    }

    fn new(place: String, settings: Vec<(&'static str, String)>, objects: Arc<dyn ObjectStore>) -> Self {
        let (world, client) = (World::new(), Arc::clone(&objects));
        let copy = Box::new(move |to: &Path| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(copy_down(&*client, to));
        });
        world.mirror.set(Mirror { place: place.clone(), copy }).ok().unwrap();
        Self { world, place, settings, objects }
    }

    /// A command, with the bucket's settings.
    fn command(&self, command: &str) -> Get<'_> {
        let command = self.world.command(command);
        self.settings.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    fn get(&self, refs: &[&str]) -> Get<'_> {
        self.command("get").args(refs).args(&["-o", &self.place, "--staging"]).args(&[self.world.archive()])
    }

    /// The exit code and all that a command on the bucket says, whatever is in there.
    fn says(&self, command: &str, args: &[&str]) -> (i32, String) {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_vfetch"));
        program.arg(command).arg(&self.place).args(args).envs(self.settings.iter().cloned());
        let ended = program.output().unwrap();
        (ended.status.code().unwrap(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    }

    /// Writes an object behind the archive's back.
    fn put(&self, below: &str, bytes: &[u8]) {
        let path = ObjectPath::parse(format!("clips/{below}")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.objects.put(&path, bytes.to_vec().into())).unwrap();
    }
}

#[test]
fn an_archive_on_azure_is_filled_judged_and_healed() {
    Cloud::azure().iter().for_each(an_archive_is_filled_judged_and_healed);
}

#[test]
fn an_archive_on_google_is_filled_judged_and_healed() {
    Cloud::google().iter().for_each(an_archive_is_filled_judged_and_healed);
}

fn an_archive_is_filled_judged_and_healed(cloud: &Cloud) {
    let world = &cloud.world;
    let jobs = TwoJobs::of(world);
    let never_says_secrets = |(code, said): (i32, String)| {
        assert!(!said.contains(AZURE_KEY) && !said.contains("topsecret"), "{said}");
        (code, said)
    };
    cloud.get(&["147", "148"]).run().exits(0);
    jobs.are_home(world);
    assert_eq!(world.staged(), [""; 0], "nothing is left on this machine");
    let fetched = world.media.log().len();
    cloud.get(&["147", "148", "--check"]).run().exits(0);
    assert_eq!(world.media.log().len(), fetched, "a rerun fetches nothing");
    cloud.get(&["147", "148", "--force"]).run().exits(0);
    jobs.are_home(world);
    assert_eq!(world.names("148"), ["148-0.mp4", "manifest.json"]);

    let told = [
        ("status", &["--json"][..], "\"complete\":{\"jobs\":2"),
        ("list", &["--json"], "\"148\""),
        ("export", &["-f", "jsonl"], &jobs.0[2].sha256()),
        ("export", &[], &format!("{}  147/147-1.mp4\n", jobs.0[1].sha256())),
        ("verify", &[], "3 files ok"),
    ];
    for (command, args, want) in told {
        let (code, said) = never_says_secrets(cloud.says(command, args));
        assert!(code == 0 && said.contains(want), "{command}: {code}\n{said}");
    }

    let copy = world.path("io/copy");
    let copy = copy.to_str().unwrap();
    world.command("get").args(&["147", "148", "-o", copy]).run().exits(0);
    cloud.put("148/148-0.mp4", &vec![0; 20 << 20]);
    cloud.put("147/manifest.json", b"{");
    let (code, said) = never_says_secrets(cloud.says("verify", &[]));
    assert!(
        code == 6 && said.contains("148/148-0.mp4") && said.contains("147/manifest.json"),
        "{code}\n{said}"
    );
    let staging = world.archive();
    let healing = ["--offline", "--from", copy, "--staging", staging.to_str().unwrap()];
    let (code, said) = never_says_secrets(cloud.says("repair", &healing));
    assert_eq!(code, 0, "{said}");
    assert_eq!(never_says_secrets(cloud.says("verify", &[])).0, 0);
    cloud.get(&["147", "148"]).run().exits(0);
    jobs.are_home(world);
}

#[test]
fn a_container_that_cannot_be_used_is_told_by_name() {
    let Some(mut cloud) = Cloud::azure() else { return };
    let (right, secret) = (cloud.place.clone(), "d3JvbmdrZXk=");
    cloud.place = "az://vfetch-nowhere/clips".into();
    let (code, said) = cloud.says("status", &[]);
    assert!(code == 5 && said.contains(&cloud.place) && said.contains("create the bucket"), "{code}\n{said}");
    cloud.place = right;
    cloud.settings.push(("AZURE_STORAGE_ACCOUNT_KEY", secret.into()));
    let (code, said) = cloud.says("status", &[]);
    assert!(
        code == 5 && said.contains(&cloud.place) && said.contains("check the credentials"),
        "{code}\n{said}"
    );
    assert!(!said.contains(secret), "{said}");
}

/// A place, what is set, the exit code, and what is said.
type Lack<'a> = (&'a str, &'a [(&'a str, &'a str)], i32, &'a str);

#[test]
fn what_the_environment_lacks_is_told_by_its_variables() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = "127.0.0.1:9";
    // Profiles are not read, and README says so.
    let profile = "[default]\naws_access_key_id = topsecret\naws_secret_access_key = topsecret\n";
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/credentials"), profile).unwrap();
    let table: [Lack<'_>; 9] = [
        ("s3://x/y", &[("AWS_ACCESS_KEY_ID", "topsecret")], 2, "set AWS_SECRET_ACCESS_KEY too"),
        (
            "s3://x/y",
            &[
                ("AWS_ACCESS_KEY_ID", "topsecret"),
                ("AWS_SECRET_ACCESS_KEY", "topsecret"),
                ("AWS_ENDPOINT", "localhost:9"),
            ],
            2,
            "let AWS_ENDPOINT_URL begin with https://",
        ),
        ("s3://x/y", &[("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")], 2, "set AWS_ACCESS_KEY_ID and"),
        ("gs://x/y", &[("GOOGLE_SERVICE_ACCOUNT", "/no/such")], 2, "GOOGLE_SERVICE_ACCOUNT names /no/such"),
        (
            "gs://x/y",
            &[("GOOGLE_SERVICE_ACCOUNT_KEY", "{\"a\": \"topsecret\"}")],
            2,
            "GOOGLE_SERVICE_ACCOUNT",
        ),
        (
            "gs://x/y",
            &[("GCE_METADATA_HOST", nowhere), ("GCE_METADATA_IP", nowhere)],
            5,
            "set GOOGLE_SERVICE_ACCOUNT to",
        ),
        ("az://x/y", &[("AZURE_STORAGE_ACCOUNT_KEY", "topsecret")], 2, "set AZURE_STORAGE_ACCOUNT_NAME"),
        (
            "az://x/y",
            &[("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_ACCOUNT_KEY", "topsecret!")],
            2,
            "look at AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            "az://x/y",
            &[
                ("AZURE_STORAGE_ACCOUNT_NAME", "a"),
                ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
                ("AZURE_ENDPOINT", "http://127.0.0.1:9"),
            ],
            2,
            "set AZURE_ALLOW_HTTP=true",
        ),
    ];
    for (place, settings, code, want) in table {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_vfetch"));
        program.args(["status", place]).env_clear().env("HOME", home.path());
        let ended = program.envs(settings.iter().copied()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(code) && said.contains(want), "{place} {want}: {said}");
        assert!(said.contains(place) && !said.contains("topsecret") && !said.contains(AZURE_KEY), "{said}");
        assert!(!said.contains("later"), "trying again is of no use: {said}");
    }
}

#[test]
fn a_lost_answer_from_azure_is_settled_by_a_look() {
    let Some(server) = azure_server() else { return };
    let proxy = Proxy::before(server, new_container(server));
    let place = Place::azure_at(proxy.address, &proxy.bucket);
    a_lost_answer_is_settled_by_a_look(&proxy, &place, ("PUT", "comp=blocklist"));
}

#[test]
fn a_lost_answer_from_google_is_settled_by_a_look() {
    let Some(Translator { address, bucket }) = Translator::new() else { return };
    let proxy = Proxy::before(address, bucket);
    let place = Place::google_at(proxy.address, &proxy.bucket);
    a_lost_answer_is_settled_by_a_look(&proxy, &place, ("POST", "uploadId="));
}

/// `completes` is the last request for a file that goes up in pieces.
fn a_lost_answer_is_settled_by_a_look(proxy: &Proxy, place: &Place, completes: (&'static str, &str)) {
    place.staging();
    let job = job("147");
    let large = vec![7; 17 << 20];
    let files: [(usize, &[u8]); 3] = [(0, b"first"), (1, b"second"), (2, &large)];
    for (method, part, fault) in [
        ("PUT", "147%2D0", LoseAnswer),
        ("PUT", "147-0", LoseAnswer),
        ("PUT", "147%2D1", AnswerAfter(503, "")),
        ("PUT", "147-1", AnswerAfter(503, "")),
        ("PUT", "manifest", LoseAnswer),
        (completes.0, completes.1, LoseAnswer),
    ] {
        proxy.on(method, part, 1, fault);
    }
    let (mut manifest, mut version) = place.commit_first(&job, &files);
    assert_eq!(manifest, record(&job, &files), "every file has its plain name");
    place.holds_what_it_says(&job);
    assert_eq!(place.names("147"), ["147-0.gif", "147-1.gif", "147-2.gif", "manifest.json"]);
    for (round, fault) in [LoseAnswer, AnswerAfter(503, ""), Answer(503, "")].into_iter().enumerate() {
        proxy.on("PUT", "manifest", 1, fault);
        manifest.updated_at = format!("2026-01-02T03:04:0{round}Z");
        (manifest, version) = place.commit(&job, &[], manifest, Some(version)).unwrap();
        assert_eq!(place.seen(&job), (manifest.clone(), version));
    }
    assert!(proxy.left() <= 2, "each fault was met in one of its spellings");
}
