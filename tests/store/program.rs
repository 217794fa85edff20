//! The program itself, with a bucket as its archive. What holds after every run is looked at in a copy of the bucket.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use super::proxy::Fault::Answer;
use super::proxy::Proxy;
use super::servers::s3_client;
use super::support::run::Signal;
use super::support::{Answer as Reply, Content, Get, Mirror, World};

/// Two jobs of three files, the last of which goes up in pieces.
pub(crate) struct TwoJobs(pub(crate) [Content; 3]);

impl TwoJobs {
    /// Ready in this world.
    pub(crate) fn of(world: &World) -> Self {
        let contents = [Content::gif(1, 5_000), Content::mp4(2, 300_000), Content::mp4(3, 20 << 20)];
        let contents = contents.map(|content| world.content(content));
        let url = |name: &str, at: usize| world.media.on(name, Reply::file(&contents[at]));
        world.job("147", Reply::success(&[url("/a.gif", 0), url("/b.mp4", 1)]));
        world.job("148", Reply::processing().then(Reply::success(&[url("/c.mp4", 2)])));
        Self(contents)
    }

    /// Asserts that every file is in the archive.
    pub(crate) fn are_home(&self, world: &World) {
        for ((id, output), content) in [("147", 0), ("147", 1), ("148", 0)].into_iter().zip(&self.0) {
            world.holds(id, output, content);
        }
    }
}

/// A world whose archive is a bucket, behind a proxy.
struct Cloud {
    world: World,
    proxy: Proxy,
    place: String,
}

impl Cloud {
    /// `None` where there is no S3 server.
    fn new() -> Option<Self> {
        let (proxy, world) = (Proxy::new()?, World::new());
        let place = format!("s3://{}/clips", proxy.bucket);
        let (address, bucket) = (proxy.server, proxy.bucket.clone());
        let copy = Box::new(move |to: &Path| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(copy_down(&s3_client(address, &bucket), to));
        });
        world.mirror.set(Mirror { place: place.clone(), copy }).ok().unwrap();
        Some(Self { world, proxy, place })
    }

    /// `vfetch get` of these references into the bucket.
    fn get(&self, refs: &[&str]) -> Get<'_> {
        let (staging, world) = (self.world.archive(), &self.world);
        let get =
            world.command("get").args(refs).args(&["-o", &self.place]).args(&["--staging"]).args(&[staging]);
        with_credentials(get).env("AWS_ENDPOINT_URL", format!("http://{}", self.proxy.address))
    }
}

impl Cloud {
    /// Another command on the bucket.
    fn command(&self, command: &str, args: &[&str]) -> Get<'_> {
        let command = self.world.command(command).quietly().args(&[&self.place]).args(args);
        with_credentials(command).env("AWS_ENDPOINT_URL", format!("http://{}", self.proxy.address))
    }

    /// The exit code and the standard output of a command on the bucket, whatever is in there.
    fn output(&self, command: &str, args: &[&str]) -> (i32, String) {
        let ended = self.ended(command, args);
        (ended.status.code().unwrap(), String::from_utf8(ended.stdout).unwrap())
    }

    fn ended(&self, command: &str, args: &[&str]) -> std::process::Output {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_vfetch"));
        program.arg(command).arg(&self.place).args(args).env("AWS_ALLOW_HTTP", "true");
        program.env("AWS_ENDPOINT_URL", format!("http://{}", self.proxy.address));
        program.env("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST").env("AWS_SECRET_ACCESS_KEY", "topsecret");
        program.env("MODELSLAB_API_KEY", "unused").output().unwrap()
    }

    /// Writes an object behind the archive's back.
    fn put(&self, below: &str, bytes: &[u8]) {
        let client = s3_client(self.proxy.server, &self.proxy.bucket);
        let path = ObjectPath::parse(format!("clips/{below}")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.put(&path, bytes.to_vec().into())).unwrap();
    }
}

fn with_credentials(get: Get<'_>) -> Get<'_> {
    get.env("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
        .env("AWS_SECRET_ACCESS_KEY", "topsecret")
        .env("AWS_ALLOW_HTTP", "true")
}

/// Lays a copy of what is below `clips/` into a folder, in place of the copy before.
pub(super) async fn copy_down(client: &dyn ObjectStore, to: &Path) {
    for entry in std::fs::read_dir(to).into_iter().flatten().flatten() {
        if entry.file_name() != ".vfetch" && !entry.path().join(".vfetch").exists() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let objects: Vec<_> = client.list(Some(&ObjectPath::from("clips"))).try_collect().await.unwrap();
    for object in objects {
        let below = object.location.as_ref().strip_prefix("clips/").unwrap();
        let bytes = client.get(&object.location).await.unwrap().bytes().await.unwrap();
        std::fs::create_dir_all(to.join(below).parent().unwrap()).unwrap();
        std::fs::write(to.join(below), bytes).unwrap();
    }
}

#[test]
fn jobs_come_home_into_a_bucket_and_a_rerun_fetches_nothing() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    let jobs = TwoJobs::of(world);
    let first = cloud.get(&["147", "148"]).run().exits(0).never_says("topsecret");
    jobs.are_home(world);
    assert!(first.stdout().contains(&format!("  {}/148/148-0.mp4\n", cloud.place)), "{}", first.stdout());
    assert_eq!(world.staged(), [""; 0], "nothing is left on this machine");
    let (fetched, writes) = (world.media.log().len(), Proxy::count(&cloud.proxy.seen(), "PUT", "/clips/1"));
    assert!(writes > 0);
    for more in [&[][..], &["--check"]] {
        let again = cloud.get(&["147", "148"]).args(more).run().exits(0);
        let lines = |text: String| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(lines(again.stdout()), lines(first.stdout()));
    }
    assert_eq!(world.media.log().len(), fetched);
    assert_eq!(Proxy::count(&cloud.proxy.seen(), "PUT", "/clips/1"), 0);
    cloud.get(&["147", "148", "--force"]).run().exits(0);
    jobs.are_home(world);
    assert_eq!(world.names("148"), ["148-0.mp4", "manifest.json"]);
}

#[test]
fn a_killed_run_is_finished_by_the_next_one() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    let ids: Vec<String> = (1..=30).map(|id| id.to_string()).collect();
    let contents: Vec<Content> = (1..=30).map(|seed| world.content(Content::mp4(seed, 200_000))).collect();
    for (id, content) in ids.iter().zip(&contents) {
        world.job(id, Reply::success(&[world.media.on(&format!("/{id}.mp4"), Reply::file(content))]));
    }
    let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
    for puts in [2, 9, 23] {
        let running = cloud.get(&refs).spawn();
        cloud.proxy.wait_for_writes(puts);
        running.signal(Signal::KILL);
        running.wait().exits_with(&[137, 0]);
    }
    cloud.get(&refs).run().exits(0);
    for (id, content) in ids.iter().zip(&contents) {
        world.holds(id, 0, content);
        assert_eq!(world.names(id), [format!("{id}-0.mp4"), "manifest.json".into()]);
    }
}

#[test]
fn a_bucket_that_cannot_be_used_is_told_by_name_before_anything_is_fetched() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    let clip = world.content(Content::gif(1, 1_000));
    world.job("147", Reply::success(&[world.media.on("/a.gif", Reply::file(&clip))]));
    let at =
        |place: &str| world.command("get").args(&["147", "-o", place, "--staging"]).args(&[world.archive()]);
    let endpoint = format!("http://{}", cloud.proxy.address);
    let (missing, there) = ("s3://vfetch-no-such-bucket/clips", cloud.place.as_str());
    with_credentials(at(missing))
        .env("AWS_ENDPOINT_URL", &endpoint)
        .run()
        .exits(5)
        .says(missing)
        .says("NoSuchBucket")
        .says("create the bucket first")
        .never_says("topsecret");
    at(there)
        .env("AWS_ENDPOINT_URL", &endpoint)
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
        .run()
        .exits(2)
        .says("AWS_ACCESS_KEY_ID");
    with_credentials(at(there))
        .env("AWS_ENDPOINT_URL", &endpoint)
        .env("AWS_ALLOW_HTTP", "false")
        .run()
        .exits(2)
        .says("AWS_ALLOW_HTTP=true");
    with_credentials(at("s3://AKIA:topsecret@bucket/x")).run().exits(2).never_says("topsecret");
    at("ftp://host/x").run().exits(2).says("s3://");
    cloud.proxy.on(
        "PUT",
        "",
        1,
        Answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
    );
    with_credentials(at(there))
        .env("AWS_ENDPOINT_URL", &endpoint)
        .run()
        .exits(5)
        .says(there)
        .says("AccessDenied");
    assert_eq!(world.api.log().len(), 0);
    cloud.get(&["147"]).run().exits(0);
}

#[test]
fn an_upload_that_is_refused_ends_the_run_and_keeps_what_is_archived() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    let clips = [1, 2].map(|seed| world.content(Content::gif(seed, 1_000)));
    for (id, clip) in ["147", "148"].iter().zip(&clips) {
        world.job(id, Reply::success(&[world.media.on(&format!("/{id}.gif"), Reply::file(clip))]));
    }
    cloud.get(&["147"]).run().exits(0);
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    cloud.proxy.on("PUT", "148-0", 1, Answer(403, denied));
    cloud.get(&["147", "148"]).run().exits(5).says("AccessDenied").says("148-0.gif");
    assert_eq!(world.state("148"), "absent");
    world.holds("147", 0, &clips[0]);
    cloud.get(&["147", "148"]).run().exits(0);
    world.holds("148", 0, &clips[1]);
}

#[test]
fn every_command_takes_a_bucket() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    let clips: Vec<Content> = (1..=4).map(|seed| world.content(Content::mp4(seed, 50_000))).collect();
    for (id, clip) in ["147", "148"].iter().zip(&clips) {
        world.job(id, Reply::success(&[world.media.on(&format!("/{id}.mp4"), Reply::file(clip))]));
    }
    let late = world.media.on("/late.mp4", Reply::status(503));
    world.job("149", Reply::success(&[world.media.on("/149.mp4", Reply::file(&clips[3])), late]));
    cloud.get(&["147", "148", "149", "-R", "0"]).run().exits(4);
    cloud.command("verify", &[]).run().exits(0);
    let told = [
        ("status", &["--json"][..], "\"complete\":{\"jobs\":2"),
        ("list", &["--json"], "\"148\""),
        ("export", &["-f", "jsonl"], &clips[1].sha256()),
        ("export", &[], "  148/148-0.mp4\n"),
    ];
    for (command, args, want) in told {
        let (code, stdout) = cloud.output(command, args);
        assert!(code == 0 && stdout.contains(want), "{command}: {code}\n{stdout}");
    }
    let copy = world.path("io/copy");
    let copy = copy.to_str().unwrap();
    world.command("get").args(&["148", "-o", copy]).run().exits(0);
    cloud.put("148/148-0.mp4", &vec![0; 50_000]);
    assert_eq!(cloud.output("verify", &["--quick"]).0, 0);
    assert_eq!(cloud.output("verify", &[]).0, 6);
    let (asked, staging) = (world.api.log().len(), world.archive());
    let staging = staging.to_str().unwrap();
    cloud.command("repair", &["--offline", "--from", copy, "--staging", staging]).run().exits(0);
    assert_eq!(world.api.log().len(), asked);
    world.holds("148", 0, &clips[1]);
    cloud.command("verify", &[]).run().exits(0);
    world.media.on("/late.mp4", Reply::file(&clips[2]));
    cloud.command("resume", &["--staging", staging]).run().exits(0);
    world.holds("149", 1, &clips[2]);
    cloud.command("verify", &[]).run().exits(0);
}

#[test]
fn a_repair_swaps_the_record_before_it_puts_aside_what_another_machine_may_be_about_to_name() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    let clip = world.content(Content::mp4(1, 50_000));
    world.job("147", Reply::success(&[world.media.on("/147.mp4", Reply::file(&clip))]));
    cloud.get(&["147"]).run().exits(0);
    let before = world.manifest("147").unwrap();
    cloud.put("147/147-1.mp4", b"on its way");
    let staging = world.archive();
    cloud.proxy.seen();
    cloud.command("repair", &["--offline", "--staging", staging.to_str().unwrap()]).run().exits(0);
    let requests = cloud.proxy.seen();
    let first = |method: &str, part: &str| {
        let found = requests.iter().position(|seen| seen.method == method && seen.target.contains(part));
        found.unwrap_or_else(|| panic!("no {method} of {part}: {requests:#?}"))
    };
    assert!(first("PUT", "147/manifest.json") < first("DELETE", "147-1.mp4"), "{requests:#?}");
    let after = world.manifest("147").unwrap();
    assert_ne!(before["updated_at"], after["updated_at"], "a commit over the record that was is a conflict");
    assert_eq!(before["files"], after["files"]);
    cloud.command("verify", &[]).run().exits(0);
}

#[test]
fn a_bucket_that_turns_us_away_midway_ends_every_command_and_is_no_damage() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    for (id, seed) in [("147", 1), ("148", 2)] {
        let clip = world.content(Content::gif(seed, 1_000));
        world.job(id, Reply::success(&[world.media.on(&format!("/{id}.gif"), Reply::file(&clip))]));
    }
    cloud.get(&["147", "148"]).run().exits(0);
    let staging = world.archive();
    let staging = staging.to_str().unwrap();
    let commands: [(&str, &[&str]); 7] = [
        ("verify", &[]),
        ("status", &[]),
        ("list", &[]),
        ("export", &[]),
        ("audit", &["--offline"]),
        ("resume", &["--staging", staging]),
        ("repair", &["--offline", "--staging", staging]),
    ];
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    for part in ["148/manifest.json", "148%2F"] {
        for (command, args) in commands {
            cloud.proxy.on("GET", part, 1_000, Answer(403, denied));
            let ended = cloud.ended(command, args);
            cloud.proxy.heal();
            // These read no more than the record.
            let is_content = part == "148%2F" && matches!(command, "status" | "list" | "export");
            let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
            assert_eq!(ended.status.code(), Some(if is_content { 0 } else { 5 }), "{command}: {said}");
            assert!(is_content || said.contains("AccessDenied"), "{command}: {said}");
            let blamed = ["unreadable record", "cannot be used", "148/manifest.json  "];
            assert!(!blamed.iter().any(|blame| said.contains(blame)), "{command}: {said}");
        }
    }
    cloud.command("verify", &[]).run().exits(0);
}

#[test]
fn parts_wait_in_the_users_cache_where_nothing_else_is_said() {
    let Some(cloud) = Cloud::new() else { return };
    let world = &cloud.world;
    let clip = world.content(Content::mp4(1, 3 << 20));
    let half = Reply::file(&clip).cut_at(2 << 20);
    let url = world.media.on("/a.mp4", half.times(1).then(Reply::file(&clip).after(Duration::from_secs(60))));
    world.job("147", Reply::success(&[url]));
    let cache = world.path("io/cache");
    let get = || {
        let get = world.command("get").args(&["147", "-o", &cloud.place]);
        let get = with_credentials(get).env("AWS_ENDPOINT_URL", format!("http://{}", cloud.proxy.address));
        get.env("XDG_CACHE_HOME", &cache)
    };
    let staging = || {
        let folders: Vec<_> =
            std::fs::read_dir(cache.join("vfetch")).into_iter().flatten().flatten().collect();
        folders.first().map(|folder| folder.path().join(".vfetch/staging"))
    };
    let running = get().spawn();
    world.media.wait_for("a second request for the clip", |seen| seen.len() == 2);
    running.signal(Signal::TERM);
    running.wait().exits(143);
    let names: Vec<_> =
        std::fs::read_dir(staging().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name == "147-0.part"), "{names:?}");
    let busy = get().spawn();
    world.media.wait_for("a third request for the clip", |seen| seen.len() == 3);
    get().run().exits(7);
    busy.signal(Signal::TERM);
    busy.wait().exits(143);
    assert!(world.media.log()[2].range_from().is_some_and(|from| from > 0), "it goes on where it was cut");
}
