//! S3 on a bad day: answers that are lost, servers that are overloaded, refusals in the body of a success.
//!
//! What must hold each time: no record names what is not there, an error names the bucket and no secret, and the same
//! command succeeds once the server is well.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use vfetch::layout::Key;
use vfetch::manifest::Manifest;
use vfetch::sha256::Digest;
use vfetch::store::remote::Kind;
use vfetch::store::{Found, StoreError};

use super::places::{Place, file, job, record};
use super::proxy::Fault::{Answer, AnswerAfter, Cut, LoseAnswer};
use super::proxy::{Fault, Proxy};
use super::servers::{new_bucket, request, s3_client, s3_server};
use super::support::port::Port;

/// More tries than any client makes.
const FOR_EVER: usize = 1_000_000;
const BUSY: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
const INTERNAL: &str =
    "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";
const ODD: &str =
    "<Error><Code>OperationAborted</Code><Message>A conflicting operation is in progress.</Message></Error>";

/// Just over what goes in one request.
fn large() -> Vec<u8> {
    (0..17_u32 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// The kind of trouble; the error must name the bucket, and neither the key's id nor its secret.
fn trouble(error: &StoreError) -> Kind {
    let text = error.to_string();
    assert!(text.contains("s3://"), "{text}");
    assert!(!text.contains("topsecret") && !text.contains("AKIA") && !text.contains("Signature"), "{text}");
    match error {
        StoreError::Remote { trouble, .. } => trouble.kind,
        other => panic!("{other}"),
    }
}

fn commit_over(faults: &[(&'static str, &str, Fault)]) {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    place.staging();
    for (method, part, fault) in faults {
        proxy.on(method, part, 1, *fault);
    }
    let job = job("147");
    let files: [(usize, &[u8]); 2] = [(0, b"first"), (1, b"second")];
    let (manifest, _) = place.commit_first(&job, &files);
    assert_eq!(manifest, record(&job, &files), "both files have their plain names");
    place.holds_what_it_says(&job);
    assert_eq!(place.names("147"), ["147-0.gif", "147-1.gif", "manifest.json"]);
}

#[test]
fn a_lost_answer_to_a_file_is_settled_by_a_look() {
    commit_over(&[("PUT", "147-0.gif", LoseAnswer), ("PUT", "147-1.gif", LoseAnswer)]);
}

#[test]
fn a_lost_answer_to_the_record_is_settled_by_a_look() {
    commit_over(&[("PUT", "manifest.json", LoseAnswer)]);
}

#[test]
fn a_503_for_what_was_done_all_the_same_is_no_conflict() {
    commit_over(&[
        ("PUT", "147-0.gif", AnswerAfter(503, BUSY)),
        ("PUT", "manifest.json", AnswerAfter(503, BUSY)),
    ]);
}

#[test]
fn a_200_that_carries_an_error_is_no_success() {
    commit_over(&[
        ("PUT", "147-0.gif", Answer(200, INTERNAL)),
        ("PUT", "manifest.json", Answer(200, INTERNAL)),
    ]);
}

#[test]
fn a_409_between_two_conditional_writes_is_tried_again() {
    let busy = "<Error><Code>ConditionalRequestConflict</Code><Message>x</Message></Error>";
    commit_over(&[("PUT", "147-0.gif", Answer(409, busy)), ("PUT", "manifest.json", Answer(409, busy))]);
}

#[test]
fn a_lost_answer_to_a_swap_is_settled_by_a_look() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    let job = job("147");
    let (mut manifest, mut version) = place.commit_first(&job, &[(0, b"a")]);
    for (round, fault) in
        [LoseAnswer, AnswerAfter(503, BUSY), Answer(503, BUSY), Answer(200, INTERNAL)].into_iter().enumerate()
    {
        proxy.on("PUT", "manifest.json", 1, fault);
        manifest.updated_at = format!("2026-01-02T03:04:0{round}Z");
        (manifest, version) = place.commit(&job, &[], manifest, Some(version)).unwrap();
        assert_eq!(place.seen(&job), (manifest.clone(), version));
    }
}

#[test]
fn a_503_now_and_then_is_waited_out_everywhere() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        proxy.on(method, "", 2, Answer(503, BUSY));
    }
    let job = job("147");
    let (manifest, version) = place.commit_first(&job, &[(0, b"a"), (1, &large())]);
    proxy.heal();
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        proxy.on(method, "", 2, Answer(503, BUSY));
    }
    assert_eq!(place.store.present(&job, &manifest).unwrap(), [true, true]);
    let files: [(usize, &[u8]); 1] = [(0, b"other")];
    let changed = Manifest { files: vec![file(&job, 0, files[0].1, true)], ..record(&job, &files) };
    place.commit(&job, &files, changed, Some(version)).unwrap();
    place.holds_what_it_says(&job);
    assert_eq!(place.store.folders().unwrap().count(), 1);
    assert!(!place.names("147").contains(&"147-0.gif".into()));
}

#[test]
fn the_record_comes_after_every_file_and_each_upload_has_its_checksum() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    place.staging();
    proxy.seen();
    let large = large();
    place.commit_first(&job("147"), &[(0, b"a"), (1, b"b"), (2, &large)]);
    let seen = proxy.seen();
    let last = seen.iter().rposition(|seen| seen.method != "GET").unwrap();
    assert!(seen[last].method == "PUT" && seen[last].target.ends_with("/147/manifest.json"), "{seen:?}");
    let uploads = seen.iter().filter(|seen| seen.method == "PUT");
    assert!(uploads.clone().all(|seen| seen.checksum == Some(true)), "{seen:?}");
    // The two small files, the empty object that takes the large one's name, its pieces, the record.
    assert_eq!(uploads.count(), 2 + 1 + 3 + 1);
    assert!(seen.iter().all(|seen| seen.bytes <= 16 << 20));
}

#[test]
fn while_the_store_is_overloaded_there_is_no_record() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    place.staging();
    proxy.on("PUT", "147-1.gif", FOR_EVER, Answer(503, BUSY));
    proxy.seen();
    let job = job("147");
    let files: [(usize, &[u8]); 2] = [(0, b"a"), (1, b"b")];
    let error = place.commit(&job, &files, record(&job, &files), None).unwrap_err();
    assert_eq!(trouble(&error), Kind::Unreachable);
    assert!(error.to_string().contains("the store answers 503, SlowDown"), "{error}");
    assert_eq!(Proxy::count(&proxy.seen(), "PUT", "manifest.json"), 0);
    assert!(matches!(place.store.look(&job).unwrap(), Found::Nothing));
    proxy.heal();
    place.commit(&job, &files, record(&job, &files), None).unwrap();
    place.holds_what_it_says(&job);
    assert_eq!(place.names("147").len(), 3, "what the first try left serves the second");
}

#[test]
fn a_large_file_is_sent_in_pieces_and_read_back_whole() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    let large = large();
    for (id, fault) in [("147", LoseAnswer), ("148", Answer(200, INTERNAL)), ("149", AnswerAfter(503, BUSY))]
    {
        proxy.on("POST", "uploadId", 1, fault);
        let job = job(id);
        let (manifest, _) = place.commit_first(&job, &[(0, &large)]);
        assert_eq!(manifest.files[0].path, format!("{id}-0.gif"));
        place.holds_what_it_says(&job);
    }
    assert_eq!(unfinished_uploads(&proxy), 0);
    assert_eq!(place.staged(), 0);
}

#[test]
fn an_upload_that_cannot_be_finished_is_given_up() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    place.staging();
    let (job, large) = (job("147"), large());
    let faults = [
        ("PUT", "partNumber=2", Answer(503, BUSY)),
        ("POST", "uploadId", Answer(200, ODD)),
        ("POST", "uploads", Answer(503, BUSY)),
    ];
    for (method, part, fault) in faults {
        proxy.on(method, part, FOR_EVER, fault);
        let error = place.commit(&job, &[(0, &large)], record(&job, &[(0, &large)]), None).unwrap_err();
        assert_eq!(trouble(&error), Kind::Unreachable, "{error}");
        assert_eq!(place.store.names("147").unwrap(), [], "{part}");
        proxy.heal();
        assert_eq!(unfinished_uploads(&proxy), 0, "{part}");
    }
    place.commit_first(&job, &[(0, &large)]);
    place.holds_what_it_says(&job);
}

#[test]
fn a_download_that_breaks_goes_on_where_it_stopped() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    let (job, content) = (job("147"), large());
    place.commit_first(&job, &[(0, &content)]);
    for cut in [0, 1, 100_000, 10_000_000] {
        proxy.on("GET", "147-0.gif", 1, Cut(cut));
    }
    let key = Key::output(&job, 0, "gif", None);
    assert_eq!(place.store.hash(&key).unwrap(), (Digest::of(&content), content.len() as u64));
}

#[test]
fn an_object_that_changes_while_it_is_read_is_not_spliced() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    for (id, heeds_conditions) in [("147", true), ("148", false)] {
        let (job, name) = (job(id), format!("{id}/{id}-0.gif"));
        place.commit_first(&job, &[(0, &vec![1; 3 << 20])]);
        if !heeds_conditions {
            proxy.drop_conditions();
        }
        proxy.on("GET", &name, 1, Cut(2 << 20));
        let mut contents = place.store.contents(&Key::output(&job, 0, "gif", None)).unwrap();
        assert!(contents.read().unwrap().iter().all(|byte| *byte == 1));
        place.tamper(&name, Some(&vec![2; 3 << 20]));
        let error = loop {
            match contents.read() {
                Ok(bytes) => assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == 1)),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Remote { doing: "reading", .. }), "{error}");
        assert!(contents.read().is_err(), "nothing is left to be read");
    }
}

#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let Some(proxy) = Proxy::new() else { return };
    proxy.drop_conditions();
    let error = proxy.place().store.staging().unwrap_err();
    assert_eq!(trouble(&error), Kind::Unfit);
    assert!(error.to_string().contains("If-None-Match"), "{error}");
}

#[test]
fn a_refusal_is_not_argued_with() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message><AWSAccessKeyId>AKIATESTTESTTEST</AWSAccessKeyId></Error>";
    proxy.on("PUT", "", FOR_EVER, Answer(403, denied));
    let error = place.store.staging().unwrap_err();
    assert_eq!(trouble(&error), Kind::Denied);
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert_eq!(proxy.seen().len(), 1);
    proxy.heal();
    place.staging();
    proxy.on("GET", "", FOR_EVER, Answer(403, denied));
    let error = place.store.look(&job("147")).unwrap_err();
    assert_eq!(trouble(&error), Kind::Denied);
    let error = place.store.folders().unwrap().next().unwrap().unwrap_err();
    assert_eq!(trouble(&error), Kind::Denied);
}

#[test]
fn a_bucket_that_is_not_there_is_named_and_never_taken_for_an_empty_one() {
    let Some(server) = s3_server() else { return };
    let place = Place::s3_at(server, "vfetch-no-such-bucket");
    let job = job("147");
    let key = Key::output(&job, 0, "gif", None);
    let errors = [
        place.store.staging().map(drop).unwrap_err(),
        place.store.look(&job).map(drop).unwrap_err(),
        place.store.names("147").map(drop).unwrap_err(),
        place.store.hash(&key).map(drop).unwrap_err(),
        place.store.folders().unwrap().next().unwrap().map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(trouble(&error), Kind::NoBucket, "{error}");
        assert!(error.to_string().contains("vfetch-no-such-bucket"), "{error}");
    }
}

#[test]
fn a_store_that_goes_away_is_no_damage_of_the_archive() {
    let Some(proxy) = Proxy::new() else { return };
    let place = proxy.place();
    for id in 1..=20_u8 {
        place.commit_first(&job(&id.to_string()), &[(0, &[id; 100])]);
    }
    for part in ["/manifest.json", "-0.gif", "prefix="] {
        proxy.on("GET", part, FOR_EVER, Answer(503, BUSY));
        let error = place.verify().unwrap_err();
        assert_eq!(trouble(&error), Kind::Unreachable, "{part}");
        proxy.heal();
    }
    assert_eq!(place.verify().unwrap(), [""; 0]);
}

#[test]
fn a_store_that_cannot_be_reached_is_said_to_be() {
    let nobody = Port::reserve();
    let place = Place::s3_at(nobody.address, "clips");
    let error = place.store.staging().unwrap_err();
    assert_eq!(trouble(&error), Kind::Unreachable);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn the_archive_in_a_bucket_is_known_by_its_marker_or_its_records() {
    use object_store::memory::InMemory;
    use vfetch::store::remote::RemoteStore;
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let open = |prefix| RemoteStore::over(Arc::clone(&objects), None, prefix, "memory://b").unwrap();
    assert!(!open("clips").is_archive().unwrap());
    let place = Place::over(Arc::clone(&objects));
    place.staging();
    assert!(open("clips/2026").is_archive().unwrap());
    let bytes = record(&job("147"), &[]).to_bytes();
    let old = ObjectPath::parse("old/147/manifest.json").unwrap();
    place.runtime().block_on(objects.put(&old, bytes.into())).unwrap();
    assert!(open("old").is_archive().unwrap());
    assert!(!open("clip").is_archive().unwrap(), "a prefix ends at a slash");
}

#[test]
fn archives_that_share_a_staging_folder_know_nothing_of_each_other() {
    use vfetch::store::remote::RemoteStore;
    let folder = tempfile::tempdir().unwrap();
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let [one, two] = ["memory://b/one", "memory://b/two"].map(|place| {
        let prefix = place.rsplit('/').next().unwrap();
        let remote = RemoteStore::over(Arc::clone(&objects), None, prefix, place).unwrap();
        remote.stage_in(folder.path().into());
        remote
    });
    let (_one_is_staging, _two_is_too) = (one.staging().unwrap(), two.staging().unwrap());
    one.keep_note("synced.json", b"of one").unwrap();
    assert_eq!(one.note("synced.json").unwrap().as_deref(), Some(&b"of one"[..]));
    assert_eq!(two.note("synced.json").unwrap(), None);
}

#[test]
fn a_part_that_the_disk_has_changed_is_not_uploaded() {
    let place = Place::over(Arc::new(InMemory::new()));
    let job = job("147");
    let proven = place.proven(&job, 0, b"content");
    let mut below = std::fs::read_dir(place.own_folder().join("staging")).unwrap();
    let staged = below.next().unwrap().unwrap().path().join(".vfetch/staging/147-0.part");
    std::fs::write(staged, b"cOntent").unwrap();
    let files = vec![(proven, Key::output(&job, 0, "gif", None))];
    let commit = place.store.commit(place.staging(), &job, files, record(&job, &[(0, b"content")]), None);
    let error = place.runtime().block_on(commit).unwrap_err();
    assert!(
        matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::InvalidData),
        "{error}"
    );
    assert_eq!(place.store.names("147").unwrap(), []);
}

#[test]
fn one_machine_has_one_writer() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let place = Place::over(Arc::clone(&objects));
    place.staging();
    let error = place.store.staging().unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    Place::over(objects).staging();
}

#[test]
fn an_object_that_stands_for_a_folder_is_no_file() {
    let Some(server) = s3_server() else { return };
    let bucket = new_bucket(server);
    let place = Place::s3_at(server, &bucket);
    place.commit_first(&job("147"), &[(0, b"a")]);
    for below in ["147/", "", ".vfetch/quarantine/"] {
        let answer = request(server, "PUT", &format!("/{bucket}/clips/2026/{below}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(place.names("147"), ["147-0.gif", "manifest.json"]);
    assert_eq!(place.store.leftovers().unwrap(), []);
    assert_eq!(place.verify().unwrap(), [""; 0]);
}

#[test]
fn an_object_too_large_for_a_record_is_a_damaged_one() {
    let place = Place::memory();
    let job = job("147");
    place.tamper("147/manifest.json", Some(&vec![b' '; (64 << 20) + 1]));
    let found = place.store.look(&job).unwrap();
    assert!(matches!(found, Found::Damaged { .. }));
    let files: [(usize, &[u8]); 1] = [(0, b"a")];
    place.commit(&job, &files, record(&job, &files), found.version()).unwrap();
    place.holds_what_it_says(&job);
}

fn unfinished_uploads(proxy: &Proxy) -> usize {
    request(proxy.address, "GET", &format!("/{}?uploads", proxy.bucket)).matches("<UploadId>").count()
}

#[test]
fn objects_tell_what_kind_of_content_they_are() {
    let Some(server) = s3_server() else { return };
    let bucket = new_bucket(server);
    let place = Place::s3_at(server, &bucket);
    place.commit_first(&job("147"), &[(0, b"a"), (1, &large())]);
    for (name, want) in
        [("147-0.gif", "image/gif"), ("147-1.gif", "image/gif"), ("manifest.json", "application/json")]
    {
        let path = ObjectPath::parse(format!("clips/2026/147/{name}")).unwrap();
        let got = place.runtime().block_on(s3_client(server, &bucket).get(&path)).unwrap();
        let said =
            got.attributes.get(&object_store::Attribute::ContentType).map(|kind| kind.as_ref().to_owned());
        assert_eq!(said.as_deref(), Some(want), "{name}");
    }
}
