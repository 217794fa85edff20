//! Bringing an archive up to date with its account: what is listed and not here is archived as any other job.
//!
//! 1. Each type of asset is walked from its newest row on ([`Walk`]).
//! 2. For each row the archive is asked whether the job is home and whole; a row whose id is recorded under another
//!    family than the expected one is that job, if the files have the same names.
//! 3. The others go to [`archive_in`], with the listing's links as one more source of each output. Of jobs that die at
//!    the same time, as far as anybody knows, the older ones go first: they stand last in the listing.
//! 4. When all of them have ended so that a later run would find nothing to add, a note beside the archive keeps the ids
//!    that were newest when the walk began. A later walk may end where it meets one of these, since all that is older
//!    was home; without a note, or when its ids are listed no more or the archive knows none of them, it reads
//!    everything.
//!
//! The note decides nothing but how far the listing is read. That a page holds nothing new would be a weaker sign: jobs
//! may have been fetched by name, or by a run that was cut short among older ones.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Session;
use super::account::{Counts, Walk};
use super::archive::{Order, Stop, archive_in};
use crate::event::Event;
use crate::job::{Asked, Family, JobId, JobRef, Origin};
use crate::listing::{self, AssetType, Row};
use crate::manifest::{Manifest, State};
use crate::net::Api;
use crate::store::{Found, Store, StoreError};

/// Rows that wait for the archive to take them.
const READ_AHEAD: usize = 256;
/// The note's name below the archive's private folder.
const NOTE: &str = "synced.json";
/// What the note's `format` field says.
const NOTE_FORMAT: &str = "vfetch.synced";
/// The note's version; one of another version counts as none.
const NOTE_VERSION: u32 = 1;

/// So many of the ids that a note vouches for are looked for before it is believed.
const VOUCHED_LOOKED_AT: usize = 3;

/// What to bring up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Whose listing it is.
    pub origin: Origin,
    /// The types of assets, each with the family in which its ids are fetched.
    pub types: Vec<(AssetType, Family)>,
    /// Read the listing to its end, whatever earlier runs have vouched for.
    pub full: bool,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Synced {
    /// What was listed.
    pub listed: Counts,
    /// Listed jobs that were home and whole.
    pub whole: u64,
    /// Listed jobs that were not, and were given to the archive.
    pub given: u64,
    /// What ended it early.
    pub stop: Option<Stop>,
}

/// Where a listed job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Every output is here.
    Whole(JobRef),
    /// There is a record, and something is lacking; or the job's folder cannot be looked into.
    Lacking(JobRef),
    /// There is no record.
    Absent(JobRef),
}

impl Home {
    /// The job.
    #[must_use]
    pub fn job(&self) -> &JobRef {
        match self {
            Self::Whole(job) | Self::Lacking(job) | Self::Absent(job) => job,
        }
    }
}

/// Brings the session's archive up to date.
pub async fn sync(session: &Arc<Session>, selection: &Selection) -> Synced {
    let (sender, mut receiver) = mpsc::channel::<Asked>(READ_AHEAD);
    let unsettled = session.unsettled();
    let rows = std::iter::from_fn(move || receiver.blocking_recv().map(Ok));
    let given = async move |_, asked| sender.send(asked).await.is_ok();
    let account = Account {
        store: Some(&session.store),
        api: &session.api,
        retries: session.options.retries,
        stop: &session.stop,
        report: &|event| session.report(event),
    };
    let (walked, stop) =
        tokio::join!(account.walk(selection, given), archive_in(session, rows, Order::NewestFirst));
    let (mut synced, newest) = walked;
    synced.stop = stop.or(synced.stop);
    let undisturbed = synced.stop.is_none() && !session.stop.is_cancelled();
    if undisturbed && session.unsettled() == unsettled {
        synced.stop = keep_note(session, &selection.origin, newest).err().map(of_store);
    }
    synced
}

/// An account, and the archive that it is held against.
pub struct Account<'a> {
    /// The archive; without one everything is absent.
    pub store: Option<&'a Store>,
    /// The account.
    pub api: &'a Api,
    /// How often in a row something that may pass is tried again.
    pub retries: u32,
    /// Ends the walk.
    pub stop: &'a CancellationToken,
    /// Takes notice of what was listed.
    pub report: &'a dyn Fn(&Event<'_>),
}

/// The newest ids of each type.
type Newest = Vec<(AssetType, Vec<String>)>;

impl Account<'_> {
    /// Tells what [`sync`] would give to the archive, and changes nothing.
    pub async fn preview(&self, selection: &Selection, mut tell: impl FnMut(AssetType, &Asked)) -> Synced {
        let tell = async |assets, asked: Asked| {
            tell(assets, &asked);
            true
        };
        self.walk(selection, tell).await.0
    }

    /// Walks through all types; gives what is not whole to `give`, until that says `false`.
    async fn walk(
        &self,
        selection: &Selection,
        mut give: impl AsyncFnMut(AssetType, Asked) -> bool,
    ) -> (Synced, Newest) {
        let (mut synced, mut newest) = (Synced::default(), Vec::new());
        let note =
            if selection.full { Note::default() } else { self.store.map(Note::read).unwrap_or_default() };
        for (assets, family) in &selection.types {
            let vouched =
                match self.still_vouched(note.newest(&selection.origin, *assets), selection, family).await {
                    Ok(vouched) => vouched,
                    Err(error) => {
                        synced.stop = Some(of_store(error));
                        break;
                    }
                };
            let mut walk = Walk::new(self.api, *assets, self.retries, self.stop.clone()).until(vouched);
            let before = synced.whole;
            let walked = self.walk_one(&mut walk, selection, (*assets, family), &mut synced, &mut give).await;
            let (counts, whole) = (walk.counts(), synced.whole - before);
            synced.listed.add(counts);
            if counts.pages > 0 {
                (self.report)(&Event::Listed { assets: assets.word(), jobs: counts.jobs, whole });
            }
            newest.push((*assets, walk.newest().to_vec()));
            synced.stop = walked.err();
            if synced.stop.is_some() || !walk.is_over() {
                break;
            }
        }
        (synced, newest)
    }

    /// The ids that an earlier sync vouches for; none of them where the archive has no record of any, so that it is another
    /// one by now: a bucket that was emptied, or made anew.
    async fn still_vouched(
        &self,
        newest: Vec<String>,
        selection: &Selection,
        family: &Family,
    ) -> Result<Vec<String>, StoreError> {
        let ids = newest.iter().take(VOUCHED_LOOKED_AT).filter_map(|id| JobId::new(id).ok());
        let rows: Vec<Row> = ids.map(|id| Row { id, links: Vec::new() }).collect();
        let found = look_for(self.store, &selection.origin, family, rows).await?;
        let is_known = found.is_empty() || found.iter().any(|(_, home)| !matches!(home, Home::Absent(_)));
        Ok(if is_known { newest } else { Vec::new() })
    }

    async fn walk_one(
        &self,
        walk: &mut Walk<'_>,
        selection: &Selection,
        (assets, family): (AssetType, &Family),
        synced: &mut Synced,
        give: &mut impl AsyncFnMut(AssetType, Asked) -> bool,
    ) -> Result<(), Stop> {
        while let Some(rows) = walk.page().await.map_err(Stop::of_listing)? {
            for (row, home) in
                look_for(self.store, &selection.origin, family, rows).await.map_err(of_store)?
            {
                if let Home::Whole(_) = home {
                    synced.whole += 1;
                    continue;
                }
                synced.given += 1;
                let asked = Asked { listed: row.links, ..Asked::new(home.job().clone()) };
                if !give(assets, asked).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn of_store(error: StoreError) -> Stop {
    Stop::Local(error.into())
}

/// Where each of these rows stands in the archive; looked at on threads that may block.
async fn look_for(
    store: Option<&Store>,
    origin: &Origin,
    family: &Family,
    rows: Vec<Row>,
) -> Result<Vec<(Row, Home)>, StoreError> {
    let job = |row: &Row| JobRef::new(origin.clone(), family.clone(), row.id.clone());
    let Some(store) = store else {
        return Ok(rows
            .into_iter()
            .map(|row| (Home::Absent(job(&row)), row))
            .map(|(home, row)| (row, home))
            .collect());
    };
    let mut looks = tokio::task::JoinSet::new();
    let each = rows.len().div_ceil(store.readers().max(1)).max(1);
    for (place, rows) in rows.chunks(each).enumerate() {
        let rows: Vec<(Row, JobRef)> = rows.iter().map(|row| (row.clone(), job(row))).collect();
        let store = store.clone();
        looks.spawn_blocking(move || {
            let look = |(row, job): (Row, JobRef)| home_of(&store, job, &row).map(|home| (row, home));
            (place, rows.into_iter().map(look).collect::<Result<Vec<_>, _>>())
        });
    }
    let mut looked = looks.join_all().await;
    looked.sort_by_key(|(place, _)| *place);
    let looked: Result<Vec<_>, StoreError> = looked.into_iter().map(|(_, rows)| rows).collect();
    Ok(looked?.into_iter().flatten().collect())
}

/// Where a listed job stands in the archive. Blocks.
///
/// | the record of the id in the expected family | in another family | the job is |
/// | --- | --- | --- |
/// | there is one | | that one |
/// | there is none | one whose files have the listed names, or that has no files yet | that one |
/// | there is none | none | the expected one, and absent |
/// | its folder cannot be looked into | | that one, and lacking |
///
/// # Errors
/// Those that every job would meet. What makes one record useless (it belongs to another origin, or is newer), or one
/// folder (a link in its place), is met again, and told, by whoever works on the job.
pub fn home_of(store: &Store, expected: JobRef, row: &Row) -> Result<Home, StoreError> {
    match stands(store, &expected, |_| true) {
        Ok(Some(home)) => return Ok(home),
        Ok(None) => {}
        Err(error) if is_of_one_job(&error) => return Ok(Home::Lacking(expected)),
        Err(error) => return Err(error),
    }
    for name in Family::names().filter(|name| *name != expected.family.name()) {
        let Ok(family) = Family::named(name) else { continue };
        let other = JobRef::new(expected.origin.clone(), family, expected.id.clone());
        match stands(store, &other, |manifest| same_files(manifest, row)) {
            Ok(Some(home)) => return Ok(home),
            Ok(None) => {}
            Err(error) if is_of_one_job(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Home::Absent(expected))
}

fn is_of_one_job(error: &StoreError) -> bool {
    super::Scope::of(error) == super::Scope::Job && !error.is_out_of_reach()
}

fn stands(
    store: &Store,
    job: &JobRef,
    belongs: impl Fn(&Manifest) -> bool,
) -> Result<Option<Home>, StoreError> {
    let manifest = match store.look(job) {
        Ok(Found::Record(manifest, _)) if belongs(&manifest) => manifest,
        Ok(Found::Record(..) | Found::Nothing | Found::Damaged { .. })
        | Err(StoreError::Foreign { .. } | StoreError::Newer { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let whole = manifest.state == State::Complete
        && store.present(job, &manifest)?.into_iter().all(|present| present);
    Ok(Some(if whole { Home::Whole(job.clone()) } else { Home::Lacking(job.clone()) }))
}

/// Whether a record of the same id may be a listed job's: one of its files has the name of a listed one. Without files on
/// one of the sides nothing speaks against it.
fn same_files(manifest: &Manifest, row: &Row) -> bool {
    let listed: Vec<&str> = row.links.iter().flatten().map(listing::file_name).collect();
    let recorded = manifest.files.iter().map(|file| file.source.rsplit('/').next().unwrap_or_default());
    let mut recorded = recorded.filter(|name| !name.is_empty()).peekable();
    listed.is_empty() || recorded.peek().is_none() || recorded.any(|name| listed.contains(&name))
}

/// What a sync that went well leaves for the next one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    format: String,
    version: u32,
    listings: Vec<NoteOf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NoteOf {
    origin: String,
    #[serde(rename = "type")]
    assets: String,
    newest: Vec<String>,
}

impl Note {
    /// The archive's note; nothing where there is none that can be read, since it is only worth the time that it saves.
    fn read(store: &Store) -> Self {
        let bytes = store.note(NOTE).ok().flatten().unwrap_or_default();
        let note: Self = serde_json::from_slice(&bytes).unwrap_or_default();
        if note.format == NOTE_FORMAT && note.version == NOTE_VERSION { note } else { Self::default() }
    }

    fn newest(&self, origin: &Origin, assets: AssetType) -> Vec<String> {
        let same = |of: &&NoteOf| of.origin == origin.as_str() && of.assets == assets.word();
        self.listings.iter().find(same).map(|of| of.newest.clone()).unwrap_or_default()
    }

    fn set(&mut self, origin: &Origin, assets: AssetType, newest: Vec<String>) {
        self.listings.retain(|of| of.origin != origin.as_str() || of.assets != assets.word());
        self.listings.push(NoteOf { origin: origin.as_str().into(), assets: assets.word().into(), newest });
    }
}

fn keep_note(session: &Session, origin: &Origin, newest: Newest) -> Result<(), StoreError> {
    let mut note = Note::read(&session.store);
    for (assets, newest) in newest {
        note.set(origin, assets, newest);
    }
    let note = Note { format: NOTE_FORMAT.into(), version: NOTE_VERSION, listings: note.listings };
    session.store.keep_note(&session.staging, NOTE, &serde_json::to_vec(&note).unwrap_or_default())
}
