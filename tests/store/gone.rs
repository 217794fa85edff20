//! A bucket that goes away while it is read: the run ends with the bucket's error, and nothing in the archive is called
//! damaged, missing or unreadable because of it.

use std::collections::BTreeSet;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use vfetch::closure::Closure;
use vfetch::engine::audit::hear_archive;
use vfetch::engine::survey::{self, Look, Progress};
use vfetch::layout::Key;
use vfetch::lifetime::Lifetimes;
use vfetch::store::StoreError;
use vfetch::store::remote::Kind;
use vfetch::view::export::{ExportError, Exported, Format, export};

use super::places::{Place, job, record};
use super::proxy::Proxy;

/// Enough that several threads read at once.
const JOBS: usize = 12;

/// An archive of sound jobs behind a proxy.
fn archive() -> Option<(Proxy, Place)> {
    let proxy = Proxy::new()?;
    let place = proxy.place();
    let jobs: Vec<_> = (0..JOBS).map(|id| job(&id.to_string())).collect();
    let commits = jobs.iter().map(|job| {
        let manifest = record(job, &[(0, b"content")]);
        let file = (place.proven(job, 0, b"content"), Key::output(job, 0, "gif", None));
        place.store.commit(place.staging(), job, vec![file], manifest, None)
    });
    let commits: Vec<_> = commits.collect();
    place.runtime().block_on(join_all(commits)).into_iter().for_each(|done| drop(done.unwrap()));
    Some((proxy, place))
}

/// Reads the archive once to count the requests that it takes, and again while the server dies at some of them.
fn read_while_it_dies(what: &str, read: impl Fn(&Place) -> Result<(), StoreError>) {
    let Some((proxy, place)) = archive() else { return };
    proxy.seen();
    read(&place).unwrap();
    for requests in deaths(proxy.seen().len()) {
        proxy.dies_after(requests);
        let done = read(&place);
        proxy.heal();
        match done {
            Err(StoreError::Remote { trouble, place, .. }) => {
                assert!(trouble.kind == Kind::Unreachable && place.starts_with("s3://"), "{what}: {trouble}");
            }
            other => panic!("{what}, {requests} requests: {other:?}"),
        }
    }
}

/// After how many of so many requests the server dies: at the first, in the middle, and before each of the last ones.
fn deaths(all: usize) -> impl Iterator<Item = usize> {
    [0, 1, all / 2].into_iter().chain(all - 2..all)
}

#[test]
fn verify_ends_with_the_buckets_error() {
    read_while_it_dies("verify", |place| place.verify().map(|found| assert_eq!(found, [""; 0])));
}

#[test]
fn verify_finds_nothing_that_only_a_dead_server_hides() {
    let Some((proxy, place)) = archive() else { return };
    // Every job has a fault, so the last requests of all look at one once more.
    for id in 0..JOBS {
        match id % 3 {
            0 => place.tamper(&format!("{id}/{id}-0.gif"), None),
            1 => {
                place.tamper(&format!("{id}/{id}-0.gif"), None);
                place.tamper(&format!("{id}/{id}-1.gif"), Some(b"extra"));
            }
            _ => place.tamper(&format!("{id}/manifest.json"), None),
        }
    }
    proxy.seen();
    let planted: BTreeSet<String> = place.verify().unwrap().into_iter().collect();
    assert_eq!(planted.len(), 20, "{planted:?}");
    for requests in deaths(proxy.seen().len()) {
        proxy.dies_after(requests);
        let mut found = BTreeSet::new();
        let done = place.verify_into(&mut |finding| {
            found.insert(finding);
        });
        proxy.heal();
        assert!(matches!(done, Err(StoreError::Remote { .. })), "{requests} requests: {done:?}");
        assert!(found.is_subset(&planted), "{:?}", found.difference(&planted));
    }
}

#[test]
fn status_ends_with_the_buckets_error() {
    read_while_it_dies("status", |place| {
        let census = survey::count(&place.store, &CancellationToken::new(), &Progress::default())?;
        assert_eq!((census.all.jobs, census.unreadable), (JOBS as u64, 0));
        Ok(())
    });
}

#[test]
fn list_ends_with_the_buckets_error() {
    read_while_it_dies("list", |place| {
        let (mut jobs, stop, progress) = (0, CancellationToken::new(), Progress::default());
        let make = |look| match look {
            Look::Job(..) => Some(()),
            Look::Nothing => None,
            Look::Unreadable(why) => panic!("{why}"),
        };
        survey::in_order(&place.store, &stop, &progress, make, |rows| {
            jobs += rows.len();
            true
        })?;
        assert_eq!(jobs, JOBS);
        Ok(())
    });
}

#[test]
fn export_ends_with_the_buckets_error() {
    read_while_it_dies("export", |place| {
        let (mut out, stop, progress) = (Vec::new(), CancellationToken::new(), Progress::default());
        match export(&place.store, Format::Sha256Sums, "", &stop, &progress, &mut out) {
            Ok(exported) => assert_eq!(exported, Exported { jobs: JOBS as u64, unreadable: 0 }),
            Err(ExportError::Store(error)) => return Err(error),
            Err(ExportError::Write(error)) => panic!("{error}"),
        }
        assert_eq!(out.split(|byte| *byte == b'\n').count(), JOBS + 1);
        Ok(())
    });
}

#[test]
fn audit_ends_with_the_buckets_error() {
    read_while_it_dies("audit", |place| {
        let mut closure = Closure::default();
        let (origin, stop, progress) =
            (job("1").origin.clone(), CancellationToken::new(), Progress::default());
        let records = hear_archive(&place.store, &origin, &mut closure, &stop, &progress)?;
        assert_eq!((records.jobs, records.unreadable), (JOBS as u64, 0));
        let judged = closure.judge(&Lifetimes::default(), 0);
        assert_eq!(judged.lacking(&origin).count(), 0, "every job is home");
        Ok(())
    });
}
