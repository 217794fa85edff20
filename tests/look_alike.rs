//! The look-alike of the API: that it speaks HTTP as the real hosts do, that each of its jobs ends as its scenario says
//! when the engine works on it, and that the demo and the mock show it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use serde_json::{Value, json};
use vfetch::engine::{Options, Session, archive};
use vfetch::event::{Event, Reporter, Summary};
use vfetch::job::Defaults;
use vfetch::net::{Api, ApiKey, ClientOptions, Http};
use vfetch::serve::sample;
use vfetch::serve::scenario::{Expected, FIRST_PLAIN_ID, SCENARIOS, Scenario};
use vfetch::serve::{LookAlike, Settings};
use vfetch::store::{Found, Store};

const KEY: &str = "a-key-for-trials-0123456789";

async fn started() -> LookAlike {
    started_with(Settings::default()).await
}

async fn started_with(settings: Settings) -> LookAlike {
    LookAlike::start_with(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap()
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

async fn ask(look_alike: &LookAlike, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}{path}", look_alike.base_url());
    let response = client().post(url).body(body.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

async fn fetch(look_alike: &LookAlike, job: &str) -> (u16, Value) {
    ask(look_alike, &format!("/api/v1/enterprise/video/fetch/{job}"), json!({ "key": KEY })).await
}

#[derive(Default)]
struct Watch(Mutex<Summary>);

impl Reporter for Watch {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().note(event);
    }
}

/// Works on all of these jobs with the real engine; what it did.
async fn run(look_alike: &LookAlike, store: &Store, refs: &[String]) -> Summary {
    let defaults = Defaults::new(&look_alike.base_url(), None).unwrap();
    let clients = ClientOptions { patience: Duration::MAX, ..ClientOptions::new(defaults.origin.clone()) };
    let api = Api::new(ApiKey::new(KEY.into()).unwrap(), &clients).unwrap();
    let http = Http::new(&clients).unwrap();
    let watch = Arc::new(Watch::default());
    // As patient as can be said.
    let patient = Options { wait: Duration::MAX, timeout: Duration::MAX, ..Options::default() };
    let session = Session::new(api, http, store.clone(), patient, watch.clone()).unwrap();
    let asked: Vec<_> = refs.iter().map(|text| Ok(defaults.parse(text).unwrap())).collect();
    let stopped = archive::archive(&Arc::new(session), asked.into_iter()).await;
    assert!(stopped.is_none(), "{stopped:?}");
    watch.0.lock().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_ends_as_its_scenario_says() {
    let look_alike = started().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), false).unwrap();
    let refs: Vec<String> = SCENARIOS.iter().map(Scenario::reference).collect();
    let first = run(&look_alike, &store, &refs).await;

    let defaults = Defaults::new(&look_alike.base_url(), None).unwrap();
    let mut wrong = Vec::new();
    for scenario in SCENARIOS {
        let job = defaults.parse(&scenario.reference()).unwrap().job;
        let record = match store.look(&job).unwrap() {
            Found::Record(record, _) => Some(*record),
            Found::Nothing | Found::Damaged { .. } => None,
        };
        if let Some(what) = scenario.disagreement(record.as_ref()) {
            wrong.push(format!("{} ({}): {what}", scenario.reference(), scenario.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let complete =
        SCENARIOS.iter().filter(|one| matches!(one.expected, Expected::Complete(_))).count() as u64;
    assert_eq!((first.archived, first.failed, first.gone), (complete, 1, 1));
    let seen = look_alike.seen();
    assert_eq!((seen.leaked_keys, seen.future_links, seen.without_key), (0, 0, 0));
    assert_eq!(seen.continued, 2, "the cut file was continued twice");

    let calls = look_alike.seen().api_calls;
    let not_gone: Vec<String> = refs.into_iter().filter(|job| job != "302").collect();
    let again = run(&look_alike, &store, &not_gone).await;
    assert_eq!((again.kept, again.archived, again.failed, again.received_bytes), (complete, 0, 1, 0));
    assert_eq!(look_alike.seen().api_calls, calls + 1, "the failed job alone is asked for again");
}

#[tokio::test]
async fn a_call_without_a_key_is_refused() {
    let look_alike = started().await;
    let path = "/api/v1/enterprise/video/fetch/147";
    for body in [json!({ "key": "" }), json!({}), json!({ "key": 5 })] {
        assert_eq!(ask(&look_alike, path, body).await.0, 401);
    }
    assert_eq!(ask(&look_alike, path, json!([])).await.0, 400);
    let seen = look_alike.seen();
    assert_eq!((seen.api_calls, seen.without_key), (4, 3));
    assert_eq!(client().get(format!("{}{path}", look_alike.base_url())).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_job_is_known_to_its_own_family_alone() {
    let look_alike = started().await;
    let key = || json!({ "key": KEY });
    assert_eq!(ask(&look_alike, "/api/v6/realtime/fetch/98", key()).await.1["status"], "success");
    assert_eq!(ask(&look_alike, "/api/v6/video/fetch/98", key()).await.0, 404);
    assert_eq!(fetch(&look_alike, "98").await.1["message"], "Request not found");
    assert_eq!(fetch(&look_alike, "9999").await.0, 404);
    let by_id = ask(&look_alike, "/api/v1/enterprise/fetch", json!({ "key": KEY, "request_id": "77" })).await;
    assert_eq!((by_id.0, &by_id.1["id"]), (200, &json!(77)));
    assert_eq!(ask(&look_alike, "/api/v1/enterprise/fetch", key()).await.0, 404);
    let balance = ask(&look_alike, "/api/wallet_balance", key()).await.1;
    assert_eq!(balance["status"], "success");
}

#[tokio::test]
async fn links_carry_the_name_by_which_the_client_came() {
    let look_alike = started().await;
    let url = format!("{}/api/v1/enterprise/video/fetch/147", look_alike.base_url());
    let url = url.replace("127.0.0.1", "localhost");
    let body = json!({ "key": KEY }).to_string();
    let answer = client().post(url).body(body).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let link = answer["output"][0].as_str().unwrap();
    assert!(link.starts_with("http://localhost:"), "{link}");
    assert_eq!(client().get(link).send().await.unwrap().bytes().await.unwrap(), sample::GIF.bytes);
}

#[tokio::test]
async fn a_media_host_serves_heads_ranges_and_validators() {
    let look_alike = started().await;
    let answer = fetch(&look_alike, "147").await.1;
    let url = answer["output"][0].as_str().unwrap();
    let (client, total) = (client(), sample::GIF.bytes.len());
    let text = |response: &reqwest::Response, name| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };

    let head = client.head(url).send().await.unwrap();
    assert_eq!(text(&head, CONTENT_LENGTH), Some(total.to_string()));
    assert_eq!(text(&head, CONTENT_TYPE).as_deref(), Some("image/gif"));
    assert_eq!(text(&head, ACCEPT_RANGES).as_deref(), Some("bytes"));
    let etag = text(&head, ETAG).unwrap();
    assert!(vfetch::plan::is_strong(&etag), "{etag}");
    assert!(head.bytes().await.unwrap().is_empty());

    let get = || client.get(url).header(RANGE, "bytes=100-");
    let rest = get().header(IF_RANGE, &etag).send().await.unwrap();
    assert_eq!(rest.status(), 206);
    assert_eq!(text(&rest, CONTENT_RANGE), Some(format!("bytes 100-{}/{total}", total - 1)));
    assert_eq!(rest.bytes().await.unwrap(), sample::GIF.bytes[100..]);

    let changed = get().header(IF_RANGE, "\"another\"").send().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.bytes().await.unwrap(), sample::GIF.bytes);

    let beyond = client.get(url).header(RANGE, format!("bytes={total}-")).send().await.unwrap();
    assert_eq!(
        (beyond.status().as_u16(), text(&beyond, CONTENT_RANGE)),
        (416, Some(format!("bytes */{total}")))
    );
    let known = client.get(url).header(IF_NONE_MATCH, &etag).send().await.unwrap();
    assert_eq!(known.status(), 304);
    assert_eq!(client.post(url).send().await.unwrap().status(), 405);
    let elsewhere = url.replace("147-0.gif", "147-1.gif");
    assert_eq!(client.get(elsewhere).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_media_request_that_holds_the_key_is_noticed() {
    let look_alike = started().await;
    let answer = fetch(&look_alike, "147").await.1;
    let url = answer["output"][0].as_str().unwrap();
    client().head(url).send().await.unwrap();
    assert_eq!(look_alike.seen().leaked_keys, 0);
    client().head(url).header("authorization", format!("Bearer {KEY}")).send().await.unwrap();
    client().head(format!("{url}?key={KEY}")).send().await.unwrap();
    assert_eq!(look_alike.seen().leaked_keys, 2);
}

#[tokio::test]
async fn the_listing_gives_every_done_job_once_over_its_pages_newest_first() {
    let look_alike = started_with(Settings { plain_jobs: 65, bytes_per_second: None }).await;
    let page = async |path: &str, number: u64| {
        let body = json!({ "key": KEY, "type": "video", "per_page": 100, "page": number });
        ask(&look_alike, path, body).await.1
    };
    let mut ids = Vec::new();
    let mut last = 1;
    let mut number = 1;
    while number <= last {
        let path = if number == 1 { "/api/assets_generated" } else { "/api/v6/assets_generated" };
        let answer = page(path, number).await;
        let rows = answer["data"].as_array().unwrap().clone();
        assert!(rows.len() <= 30);
        let pagination = &answer["pagination"];
        assert_eq!(pagination["from"], json!(ids.len() + 1));
        ids.extend(rows.iter().map(|row| row["id"].as_u64().unwrap()));
        assert_eq!(pagination["to"], json!(ids.len()));
        last = pagination["last_page"].as_u64().unwrap();
        number += 1;
    }
    assert_eq!(ids[..2], [FIRST_PLAIN_ID + 64, FIRST_PLAIN_ID + 63]);
    assert!(ids.contains(&147) && ids.contains(&302));
    assert!(!ids.contains(&301), "a failed job has no output");
    assert!(!ids.contains(&148), "a job that nobody has seen done is not listed");
    assert!(!ids.contains(&98), "it is of another type");
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len());

    let beyond = page("/api/assets_generated", last + 1).await;
    assert_eq!((beyond["data"].as_array().unwrap().len(), &beyond["pagination"]["from"]), (0, &Value::Null));
    let body = json!({ "key": KEY, "type": "film" });
    assert_eq!(ask(&look_alike, "/api/assets_generated", body).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_jobs_are_fetched_like_any_other() {
    let look_alike = started_with(Settings { plain_jobs: 30, bytes_per_second: None }).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), false).unwrap();
    let refs: Vec<String> = (FIRST_PLAIN_ID..FIRST_PLAIN_ID + 30).map(|id| id.to_string()).collect();
    let summary = run(&look_alike, &store, &refs).await;
    assert_eq!((summary.archived, summary.files), (30, 30));
    assert_eq!(fetch(&look_alike, &(FIRST_PLAIN_ID + 30).to_string()).await.0, 404);
}

#[tokio::test]
async fn a_dropped_look_alike_listens_no_more() {
    let look_alike = started().await;
    let url = look_alike.base_url();
    let body = || json!({ "key": KEY }).to_string();
    assert!(client().post(format!("{url}/api/wallet_balance")).body(body()).send().await.is_ok());
    drop(look_alike);
    // The listener closes once its task has run; each refused try gives it room to.
    let closed = async {
        while client().post(format!("{url}/api/wallet_balance")).body(body()).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.unwrap();
}

/// The program itself, with nothing of this environment but what a program needs.
fn vfetch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfetch"));
    command.env_clear();
    command
}

#[test]
fn the_demo_shows_every_job_and_takes_nothing_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let shown = vfetch()
        .args(["demo", "-o", "kept"])
        .current_dir(folder.path())
        .env("MODELSLAB_API_KEY", "the-key-of-a-real-account")
        .env("MODELSLAB_BASE_URL", "http://127.0.0.1:9")
        .env("VFETCH_KEY_FILE", "/nowhere")
        .env("VFETCH_WAIT", "0")
        .env("http_proxy", "http://127.0.0.1:9")
        .output()
        .unwrap();
    let out = String::from_utf8(shown.stdout).unwrap();
    let err = String::from_utf8(shown.stderr).unwrap();
    assert!(shown.status.success(), "{out}\n{err}");
    for scenario in SCENARIOS {
        assert!(out.contains(&format!("ok    {}, {}: ", scenario.reference(), scenario.title)), "{out}");
    }
    for said in [
        "All 16 jobs ended as they should.",
        "The key was seen by the API alone.",
        "208, a link that has expired: complete from fresh_output in 3 requests",
        "realtime.98/                  98-0.png  98-1.jpg  98-2.webp  manifest.json",
        "\"rung\": \"proxy\"",
        "The files are in kept\n",
    ] {
        assert!(out.contains(said), "{said:?} is not in:\n{out}");
    }
    // A digest in a record needs more columns than a narrow terminal has.
    let mut words = out.lines().filter(|line| !line.contains("\"sha256\""));
    assert!(words.all(|line| line.chars().count() <= 80), "{out}");
    assert!(!out.contains("real-account") && !err.contains("real-account"));
    // The look-alike is gone, so nothing can be tried again there.
    assert!(err.contains("the job failed at the service") && !err.contains("again:"), "{err}");

    let again = vfetch().args(["demo", "-o", "kept"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("kept is not empty"));
}

#[test]
fn a_demo_that_is_interrupted_promises_no_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = vfetch();
    command.args(["demo", "-o", "kept"]).current_dir(folder.path());
    let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    // By the time that there is a record it listens for signals.
    while !folder.path().join("kept/147/manifest.json").exists() {
        assert!(demo.try_wait().unwrap().is_none(), "the demo has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = demo.wait_with_output().unwrap();
    while out.read_line(&mut line).unwrap() > 0 {}
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{err}");
    assert!(line.contains("What came until then is in kept\n"), "{line}");
    assert!(err.contains("stopped by SIGINT; what came is kept\n") && !err.contains("again"), "{err}");
}

/// The mock, which ends with the test.
struct Mock {
    process: Child,
    out: BufReader<std::process::ChildStdout>,
    base_url: String,
}

impl Mock {
    fn start(options: &[&str]) -> Self {
        let mut command = vfetch();
        command.args(["mock", "--listen", "127.0.0.1:0"]).args(options).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        let base_url = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        Self { process, out, base_url }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_mock_serves_get_until_it_is_told_to_stop() {
    let mut mock = Mock::start(&["--extra", "3"]);
    let folder = tempfile::tempdir().unwrap();
    let got = vfetch()
        .args(["get", "147", "10001", "10003", "-o", "out", "--base-url", &mock.base_url])
        .current_dir(folder.path())
        .env("MODELSLAB_API_KEY", KEY)
        .output()
        .unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(String::from_utf8(got.stdout).unwrap().lines().count(), 3);

    let process = rustix::process::Pid::from_child(&mock.process);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert_eq!(mock.process.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    mock.out.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("147") && rest.contains("10001 to 10003"), "{rest}");
    assert!(
        rest.ends_with("vfetch mock: 3 calls of the API, 3 requests for media, 0 of them continued\n"),
        "{rest}"
    );
}

#[test]
fn a_mock_that_cannot_listen_says_so() {
    let mock = Mock::start(&[]);
    let address = mock.base_url.strip_prefix("http://").unwrap();
    let second = vfetch().args(["mock", "--listen", address]).output().unwrap();
    assert_eq!(second.status.code(), Some(5));
    let err = String::from_utf8(second.stderr).unwrap();
    assert!(
        err.contains(&format!("listening at {address}")) && err.contains("--listen 127.0.0.1:0"),
        "{err}"
    );
}

#[test]
fn a_mock_of_more_jobs_than_it_has_ids_for_is_refused() {
    let refused =
        vfetch().args(["mock", "--listen", "127.0.0.1:0", "--extra", "1000000001"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let err = String::from_utf8(refused.stderr).unwrap();
    assert!(err.contains("--extra") && err.contains("1000000001"), "{err}");
}
