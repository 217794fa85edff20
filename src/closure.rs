//! Whether the set of known jobs is closed: every job that anybody knows of is home, or is known never to come.
//!
//! Three kinds of witnesses are heard: the archive's own records, the account's listing, and texts of the user's. Each
//! says what it knows of an id, in any order and as often as it likes; [`Closure::judge`] then brings together what
//! speaks of the same job. The listing and most texts name an id without its family, so such a word joins whatever job
//! of that id another witness has named with one.
//!
//! A million jobs take some 50 MB: an id is kept once in one long text, and what is known of it in a row of a few
//! bytes. What comes in is sorted and merged each time the table has doubled.

use crate::job::{DEFAULT_FAMILY, Family, JobError, JobId, JobRef, Origin};
use crate::lifetime::{Birth, Lifetimes};
use crate::manifest::{Manifest, State};
use crate::mention::Mention;
use crate::retry::Cause;

/// The table is settled when it holds so many rows more than twice what it held when it was settled last.
const UNSETTLED_MAX: usize = 65_536;
/// Jobs that are named as examples.
const NAMED: usize = 10;

/// How far the archive has come with a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stands {
    /// It has no record.
    #[default]
    Unrecorded,
    /// Something of it may still be brought home.
    Lacking,
    /// What is not here no longer exists.
    Gone,
    /// The service has failed it, so it has no outputs.
    Fruitless,
    /// Every output is here.
    Whole,
}

impl Stands {
    /// What a record says; `present` is whether every file that it names is there with its size.
    ///
    /// | state | what is missing, or why | files | stands |
    /// | --- | --- | --- | --- |
    /// | complete | | present | whole |
    /// | complete | | not present | lacking |
    /// | pending | | | lacking |
    /// | partial, gone | only what is gone | present | gone |
    /// | partial, gone | else | | lacking |
    /// | failed | the service has failed the job | | fruitless |
    /// | failed | else | | lacking |
    #[must_use]
    pub fn of(manifest: &Manifest, present: bool) -> Self {
        let all_gone = manifest.missing.iter().all(|missing| missing.gone);
        let failed = manifest.error.as_ref().is_some_and(|error| error.cause == Cause::JobFailed);
        match manifest.state {
            State::Complete if present => Self::Whole,
            State::Partial | State::Gone if present && all_gone => Self::Gone,
            State::Failed if failed && manifest.outputs == Some(0) => Self::Fruitless,
            State::Complete | State::Partial | State::Gone | State::Pending | State::Failed => Self::Lacking,
        }
    }

    /// How it stands, in a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unrecorded => "unrecorded",
            Self::Lacking => "lacking",
            Self::Gone => "gone",
            Self::Fruitless => "without_outputs",
            Self::Whole => "whole",
        }
    }
}

/// Who knows of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witnesses(u8);

impl Witnesses {
    const ARCHIVE: Self = Self(1);
    const LISTING: Self = Self(2);
    const TEXT: Self = Self(4);
    /// Not a job's name, but another id in the answer about one.
    const ALIAS: Self = Self(8);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all = [(Self::ARCHIVE, "archive"), (Self::LISTING, "listing"), (Self::TEXT, "text")];
        all.into_iter().filter(|(witness, _)| self.has(*witness)).map(|(_, name)| name).collect()
    }
}

/// What is known of one id in one family, or in none.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Where the id stands in the text.
    at: usize,
    len: u8,
    stands: Stands,
    by: Witnesses,
    /// Its family's number; 0 where nobody has said.
    family: u16,
    /// The number of the family in which it would be asked for, where nobody has said.
    expected: u16,
    /// The outputs in its record.
    recorded: u16,
    /// The links in the listing.
    listed: u16,
    birth: ShortBirth,
}

/// A birth, or that none is known, in few bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ShortBirth {
    /// In seconds since 1970, which these bytes hold until 2106; 0 is unknown.
    seconds: u32,
    is_before: bool,
}

impl ShortBirth {
    fn of(birth: Option<Birth>) -> Self {
        let short = |moment: u64| u32::try_from(moment).unwrap_or(u32::MAX);
        match birth {
            None => Self::default(),
            Some(Birth::At(moment)) => Self { seconds: short(moment), is_before: false },
            Some(Birth::Before(moment)) => Self { seconds: short(moment), is_before: true },
        }
    }

    fn birth(self) -> Option<Birth> {
        let make = if self.is_before { Birth::Before } else { Birth::At };
        (self.seconds > 0).then(|| make(self.seconds.into()))
    }
}

/// What all witnesses have said.
#[derive(Debug, Default)]
pub struct Closure {
    text: String,
    rows: Vec<Row>,
    families: Vec<Family>,
    settled: usize,
}

impl Closure {
    /// The archive has a record of the job, with so many outputs.
    pub fn record(&mut self, job: &JobRef, stands: Stands, outputs: usize, birth: Option<Birth>) {
        let family = self.number(&job.family);
        let by = Witnesses::ARCHIVE;
        self.add(&job.id, |row| Row {
            stands,
            by,
            family,
            recorded: small(outputs),
            birth: ShortBirth::of(birth),
            ..row
        });
    }

    /// The answer about a recorded job spoke of this id: whoever names it means that job.
    pub fn alias(&mut self, id: &JobId, family: &Family) {
        let family = self.number(family);
        self.add(id, |row| Row { by: Witnesses::ALIAS, family, ..row });
    }

    /// The account lists the job with so many links; its ids are expected in this family.
    pub fn list(&mut self, id: &JobId, expected: &Family, links: usize) {
        let expected = self.number(expected);
        self.add(id, |row| Row { by: Witnesses::LISTING, expected, listed: small(links), ..row });
    }

    /// A text mentions the job.
    pub fn mention(&mut self, mention: &Mention) {
        let family = mention.family.as_ref().map_or(0, |family| self.number(family));
        let birth = ShortBirth::of(mention.at.map(Birth::At));
        self.add(&mention.id, |row| Row { by: Witnesses::TEXT, family, birth, ..row });
    }

    fn add(&mut self, id: &JobId, fill: impl FnOnce(Row) -> Row) {
        let id = id.as_str();
        let row = Row {
            at: self.text.len(),
            // Ids are shorter than that by far.
            len: u8::try_from(id.len()).unwrap_or(u8::MAX),
            stands: Stands::Unrecorded,
            by: Witnesses::default(),
            family: 0,
            expected: 0,
            recorded: 0,
            listed: 0,
            birth: ShortBirth::default(),
        };
        self.text.push_str(id);
        self.rows.push(fill(row));
        if self.rows.len() >= self.settled.saturating_mul(2) + UNSETTLED_MAX {
            self.settle();
        }
    }

    fn number(&mut self, family: &Family) -> u16 {
        let known = self.families.iter().position(|known| known == family).unwrap_or_else(|| {
            self.families.push(family.clone());
            self.families.len() - 1
        });
        u16::try_from(known + 1).unwrap_or(u16::MAX)
    }

    fn id<'a>(text: &'a str, row: &Row) -> &'a str {
        &text[row.at..row.at + usize::from(row.len)]
    }

    /// Sorts the rows and merges those of the same id and family.
    fn settle(&mut self) {
        let old = std::mem::take(&mut self.text);
        self.rows.sort_unstable_by(|a, b| (Self::id(&old, a), a.family).cmp(&(Self::id(&old, b), b.family)));
        self.rows.dedup_by(|next, first| {
            let same = first.family == next.family && Self::id(&old, first) == Self::id(&old, next);
            if same {
                *first = first.merged(next);
            }
            same
        });
        let mut text = String::with_capacity(self.rows.iter().map(|row| usize::from(row.len)).sum());
        for row in &mut self.rows {
            let at = text.len();
            text.push_str(Self::id(&old, row));
            row.at = at;
        }
        self.rows.shrink_to_fit();
        (self.text, self.settled) = (text, self.rows.len());
    }

    /// Brings together what was said of the same jobs.
    ///
    /// | an id is named | and also | then it is |
    /// | --- | --- | --- |
    /// | with a family | | that job |
    /// | without one | with one | that job, or those |
    /// | without one | in an answer about a recorded job | that job |
    /// | without one | | a job of the family in which it would be asked for |
    #[must_use]
    pub fn judge(mut self, lifetimes: &Lifetimes, now_unix_s: u64) -> Judged {
        self.settle();
        let fallback = Family::named(DEFAULT_FAMILY).map_or(0, |family| self.number(&family));
        let mut judged = Judged::default();
        let mut begin = 0;
        while begin < self.rows.len() {
            let same = |row: &Row| Self::id(&self.text, row) == Self::id(&self.text, &self.rows[begin]);
            let end = begin + self.rows[begin..].iter().take_while(|row| same(row)).count();
            let of_id = &mut self.rows[begin..end];
            judged.matched_by_id += u64::from(bring_together(of_id, fallback));
            for (place, row) in (begin..end).zip(of_id.iter()).filter(|(_, row)| row.is_job()) {
                let family = self.families.get(usize::from(row.family).wrapping_sub(1));
                let birth = row.birth.birth().unwrap_or(Birth::Before(now_unix_s));
                let dies_at = family.and_then(|family| lifetimes.job_dies_at(family, birth));
                judged.note(row, place, dies_at);
            }
            begin = end;
        }
        // Rows of one id stand together and in order, so the place decides as the id would.
        judged.lacking.sort_unstable();
        Judged { text: self.text, rows: self.rows, families: self.families, ..judged }
    }
}

/// What is said of one id; whether a word without a family was taken for a job that has one.
fn bring_together(of_id: &mut [Row], fallback: u16) -> bool {
    let Some((word, named)) = of_id.split_first_mut().filter(|(word, _)| word.family == 0) else {
        return false;
    };
    if named.is_empty() {
        word.family = if word.expected == 0 { fallback } else { word.expected };
        return false;
    }
    for job in named.iter_mut().filter(|job| job.is_job()) {
        *job = job.merged(word);
    }
    true
}

impl Row {
    /// Whether it is a job, and not merely a word that belongs to one.
    fn is_job(&self) -> bool {
        self.family != 0 && self.by != Witnesses::ALIAS
    }

    /// Both of what two rows say.
    fn merged(&self, other: &Self) -> Self {
        // A record's birth is dated by a host or by the service; a text's only by whoever wrote it.
        let (own, others) = (self.birth.birth(), other.birth.birth());
        let birth = match (self.by.has(Witnesses::ARCHIVE), other.by.has(Witnesses::ARCHIVE)) {
            (true, _) => own.or(others),
            (_, true) => others.or(own),
            _ => earlier(own, others),
        };
        Self {
            stands: self.stands.max(other.stands),
            by: Witnesses(self.by.0 | other.by.0),
            expected: if self.expected == 0 { other.expected } else { self.expected },
            recorded: self.recorded.max(other.recorded),
            listed: self.listed.max(other.listed),
            birth: ShortBirth::of(birth),
            ..*self
        }
    }
}

fn earlier(one: Option<Birth>, two: Option<Birth>) -> Option<Birth> {
    match (one, two) {
        (Some(Birth::At(one)), Some(Birth::At(two))) => Some(Birth::At(one.min(two))),
        (one, two) => one.or(two),
    }
}

fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// What came out.
#[derive(Debug, Default)]
pub struct Judged {
    text: String,
    rows: Vec<Row>,
    families: Vec<Family>,
    /// When they die, the largest number where nobody knows, and the places of their rows.
    lacking: Vec<(u64, usize)>,
    gone_places: Vec<usize>,
    more_listed: Vec<usize>,
    /// Jobs that somebody knows of.
    pub known: u64,
    /// Jobs that are home and whole.
    pub whole: u64,
    /// Jobs that the service has failed: there is nothing to bring home.
    pub fruitless: u64,
    /// Jobs of which something no longer exists anywhere.
    pub gone: u64,
    /// Jobs that list more links than their record has outputs.
    pub more_listed_count: u64,
    /// Ids that were named without a family and were taken for a job that somebody has named with one.
    pub matched_by_id: u64,
}

/// A job that is not home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The job.
    pub job: JobRef,
    /// How it stands.
    pub stands: Stands,
    /// Who knows of it.
    pub by: Witnesses,
    /// When its files die, in seconds since 1970, where that is known.
    pub dies_at: Option<u64>,
}

impl Judged {
    /// | stands | links are listed | is |
    /// | --- | --- | --- |
    /// | whole | | home |
    /// | fruitless | no | fruitless |
    /// | fruitless | yes | not home |
    /// | gone | | gone |
    /// | lacking, unrecorded | | not home |
    fn note(&mut self, row: &Row, place: usize, dies_at: Option<u64>) {
        self.known += 1;
        match row.stands {
            Stands::Whole => {
                self.whole += 1;
                if row.listed > row.recorded {
                    self.more_listed_count += 1;
                    if self.more_listed.len() < NAMED {
                        self.more_listed.push(place);
                    }
                }
            }
            Stands::Fruitless if row.listed == 0 => self.fruitless += 1,
            Stands::Gone => {
                self.gone += 1;
                self.gone_places.push(place);
            }
            Stands::Fruitless | Stands::Lacking | Stands::Unrecorded => {
                self.lacking.push((dies_at.unwrap_or(u64::MAX), place));
            }
        }
    }

    /// How many jobs are not home and may still be brought there.
    #[must_use]
    pub fn at_risk(&self) -> u64 {
        self.lacking.len() as u64
    }

    /// The jobs that are not home and may still be brought there, soonest to die first.
    pub fn lacking<'a>(&'a self, origin: &'a Origin) -> impl Iterator<Item = Lack> + 'a {
        let dies = |dies_at: u64| (dies_at != u64::MAX).then_some(dies_at);
        self.lacking.iter().filter_map(move |(dies_at, place)| self.lack(*place, dies(*dies_at), origin).ok())
    }

    /// The jobs of which something no longer exists.
    pub fn gone_jobs<'a>(&'a self, origin: &'a Origin) -> impl Iterator<Item = Lack> + 'a {
        self.gone_places.iter().filter_map(move |place| self.lack(*place, None, origin).ok())
    }

    /// Some of the jobs that list more links than their record has outputs.
    pub fn more_listed<'a>(&'a self, origin: &'a Origin) -> impl Iterator<Item = JobRef> + 'a {
        self.more_listed.iter().filter_map(move |place| Some(self.lack(*place, None, origin).ok()?.job))
    }

    fn lack(&self, place: usize, dies_at: Option<u64>, origin: &Origin) -> Result<Lack, JobError> {
        let row = &self.rows[place];
        let family = self.families.get(usize::from(row.family).wrapping_sub(1)).cloned();
        let family = family.map_or_else(|| Family::named(DEFAULT_FAMILY), Ok)?;
        let id = JobId::new(Closure::id(&self.text, row))?;
        let job = JobRef::new(origin.clone(), family, id);
        Ok(Lack { job, stands: row.stands, by: row.by, dies_at })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::time::Duration;

    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use crate::manifest::{MissingRecord, Reason};
    use crate::retry::Failure;

    const NOW: u64 = 1_767_323_045;
    const DAY: u64 = 86_400;

    fn job(text: &str) -> JobRef {
        Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse(text).unwrap().job
    }

    fn mention(text: &str, at: Option<u64>) -> Mention {
        let job = job(text);
        Mention { family: text.contains('/').then(|| job.family.clone()), id: job.id.clone(), at }
    }

    fn judge(closure: Closure) -> Judged {
        closure.judge(&Lifetimes::default(), NOW)
    }

    fn lacking(judged: &Judged) -> Vec<String> {
        let origin = job("1").origin.clone();
        judged.lacking(&origin).map(|lack| lack.job.to_string()).collect()
    }

    fn video() -> Family {
        job("1").family.clone()
    }

    #[test]
    fn how_a_job_stands_has_a_word_that_rows_use() {
        use Stands::{Fruitless, Gone, Lacking, Unrecorded, Whole};
        let words = [Unrecorded, Lacking, Gone, Fruitless, Whole].map(Stands::word);
        assert_eq!(words, ["unrecorded", "lacking", "gone", "without_outputs", "whole"]);
    }

    #[test]
    fn a_record_stands_as_the_table_says() {
        let blank = Manifest::new(&job("147"), "2026-01-02T03:04:05Z");
        let with = |outputs: Option<usize>, files: usize, missing: &[bool], error: Option<Cause>| {
            let mut manifest = blank.clone();
            manifest.outputs = outputs;
            manifest.files = (0..files).map(file).collect();
            manifest.missing = missing.iter().enumerate().map(|(at, gone)| lost(files + at, *gone)).collect();
            manifest.error = error.map(|cause| Reason::of(&Failure::new(cause, ""), None, None));
            manifest.state = manifest.derived_state();
            manifest
        };
        let table = [
            (with(Some(1), 1, &[], None), true, Stands::Whole),
            (with(Some(1), 1, &[], None), false, Stands::Lacking),
            (with(None, 0, &[], None), true, Stands::Lacking),
            (with(Some(2), 1, &[true], None), true, Stands::Gone),
            (with(Some(2), 1, &[true], None), false, Stands::Lacking),
            (with(Some(2), 1, &[false], None), true, Stands::Lacking),
            (with(Some(1), 0, &[true], None), true, Stands::Gone),
            (with(Some(1), 0, &[false], None), true, Stands::Lacking),
            (with(Some(0), 0, &[], Some(Cause::JobFailed)), true, Stands::Fruitless),
            (with(Some(0), 0, &[], Some(Cause::JobNotFound)), true, Stands::Lacking),
        ];
        for (manifest, present, want) in table {
            assert_eq!(Stands::of(&manifest, present), want, "{:?} {present}", manifest.state);
        }
    }

    fn file(output: usize) -> crate::manifest::FileRecord {
        serde_json::from_value(
            serde_json::json!({"output": output, "path": format!("147-{output}.gif"), "bytes": 3,
            "sha256": crate::sha256::Digest::of(b"abc"), "kind": "gif", "source": "https://m.test/a.gif",
            "rung": "output", "attempts": 1, "archived_at": "2026-01-02T03:04:05Z"}),
        )
        .unwrap()
    }

    fn lost(output: usize, gone: bool) -> MissingRecord {
        MissingRecord { output, gone, reasons: vec![], unknown: serde_json::Map::new() }
    }

    #[test]
    fn what_witnesses_say_of_one_job_comes_together() {
        let mut closure = Closure::default();
        for text in ["147", "148", "realtime/98"] {
            closure.record(&job(text), Stands::Whole, 1, None);
        }
        for text in ["147", "147", "98", "148", "realtime/98"] {
            closure.mention(&mention(text, None));
        }
        for id in ["147", "98"] {
            closure.list(&job(id).id, &video(), 1);
        }
        let judged = judge(closure);
        assert_eq!((judged.known, judged.whole, judged.at_risk()), (3, 3, 0));
        assert_eq!(judged.matched_by_id, 3, "147, 98 and 148 were named without a family");
    }

    #[test]
    fn a_job_that_nobody_has_brought_home_is_lacking_in_the_family_it_would_be_asked_for() {
        let mut closure = Closure::default();
        closure.mention(&mention("5", None));
        closure.list(&job("6").id, &Family::named("enterprise/images").unwrap(), 1);
        closure.mention(&mention("v7/voice/7", None));
        closure.record(&job("8"), Stands::Lacking, 2, None);
        let judged = judge(closure);
        assert_eq!((judged.known, judged.whole, judged.at_risk()), (4, 0, 4));
        assert_eq!(lacking(&judged), ["5", "enterprise/images/6", "8", "v7/voice/7"]);
        let by: Vec<_> = judged.lacking(&job("1").origin).map(|lack| lack.by.names()).collect();
        assert_eq!(by, [["text"], ["listing"], ["archive"], ["text"]]);
    }

    #[test]
    fn one_id_in_two_families_is_two_jobs() {
        let mut closure = Closure::default();
        closure.record(&job("98"), Stands::Whole, 1, None);
        closure.mention(&mention("realtime/98", None));
        let judged = judge(closure);
        assert_eq!((judged.known, judged.whole), (2, 1));
        assert_eq!(lacking(&judged), ["realtime/98"]);
    }

    #[test]
    fn another_id_in_the_answer_is_the_same_job() {
        let mut closure = Closure::default();
        closure.record(&job("147"), Stands::Whole, 1, None);
        closure.alias(&job("9147").id, &video());
        closure.mention(&mention("9147", None));
        let judged = judge(closure);
        assert_eq!((judged.known, judged.whole, judged.matched_by_id), (1, 1, 1));
        let mut closure = Closure::default();
        closure.alias(&job("9147").id, &video());
        closure.record(&job("9147"), Stands::Lacking, 1, None);
        assert_eq!(lacking(&judge(closure)), ["9147"], "unless it is a job of its own");
    }

    #[test]
    fn the_verdict_follows_from_how_a_job_stands() {
        let mut closure = Closure::default();
        let table = [
            ("1", Stands::Whole, 0),
            ("2", Stands::Whole, 9),
            ("3", Stands::Fruitless, 0),
            ("4", Stands::Fruitless, 1),
            ("5", Stands::Gone, 1),
            ("6", Stands::Lacking, 0),
            ("7", Stands::Whole, 2),
        ];
        for (id, stands, links) in table {
            closure.record(&job(id), stands, 2, None);
            if links > 0 {
                closure.list(&job(id).id, &video(), links);
            }
        }
        let judged = judge(closure);
        assert_eq!((judged.known, judged.whole, judged.fruitless, judged.gone), (7, 3, 1, 1));
        assert_eq!((lacking(&judged), judged.more_listed_count), (vec!["4".into(), "6".into()], 1));
        let origin = job("1").origin.clone();
        assert_eq!(judged.more_listed(&origin).map(|job| job.to_string()).collect::<Vec<_>>(), ["2"]);
        let gone: Vec<Lack> = judged.gone_jobs(&origin).collect();
        assert_eq!(
            (gone.len(), gone[0].job.to_string(), gone[0].by.names()),
            (1, "5".into(), vec!["archive", "listing"])
        );
    }

    #[test]
    fn a_few_jobs_that_list_more_than_they_have_are_named_and_all_are_counted() {
        let mut closure = Closure::default();
        for id in 1..=NAMED + 2 {
            let job = job(&id.to_string());
            closure.record(&job, Stands::Whole, 1, None);
            closure.list(&job.id, &video(), 2);
        }
        let judged = judge(closure);
        let named = judged.more_listed(&job("1").origin).count();
        assert_eq!((judged.more_listed_count, named), (NAMED as u64 + 2, NAMED));
    }

    #[test]
    fn two_rows_of_one_job_make_one_that_says_what_both_say() {
        let blank = Row {
            at: 0,
            len: 1,
            stands: Stands::Unrecorded,
            by: Witnesses::TEXT,
            family: 1,
            expected: 0,
            recorded: 0,
            listed: 0,
            birth: ShortBirth::default(),
        };
        let at = |seconds| ShortBirth::of(Some(Birth::At(seconds)));
        let text = Row { expected: 4, listed: 3, birth: at(NOW - 9), ..blank };
        let record =
            Row { by: Witnesses::ARCHIVE, stands: Stands::Lacking, recorded: 2, birth: at(NOW), ..blank };
        for both in [text.merged(&record), record.merged(&text)] {
            assert_eq!((both.stands, both.by.names()), (Stands::Lacking, vec!["archive", "text"]));
            assert_eq!((both.expected, both.recorded, both.listed), (4, 2, 3));
            assert_eq!(both.birth, at(NOW), "the record knows best");
        }
        let twice = text.merged(&Row { expected: 5, birth: at(NOW - 8), ..text });
        assert_eq!((twice.by.names(), twice.expected, twice.birth), (vec!["text"], 4, at(NOW - 9)));
    }

    #[test]
    fn what_dies_first_comes_first() {
        let mut closure = Closure::default();
        closure.mention(&mention("realtime/1", Some(NOW - 2 * DAY)));
        closure.mention(&mention("2", None));
        closure.mention(&mention("3", Some(NOW - 20 * 3_600)));
        closure.mention(&mention("3", Some(NOW - 21 * 3_600)));
        closure.mention(&mention("4", Some(NOW)));
        closure.mention(&mention("5", Some(NOW - 23 * 3_600)));
        closure.record(&job("5"), Stands::Lacking, 1, Some(Birth::At(NOW - 60)));
        let judged = judge(closure);
        assert_eq!(lacking(&judged), ["3", "2", "5", "4", "realtime/1"]);
        let origin = job("1").origin.clone();
        let dies: Vec<Option<u64>> = judged.lacking(&origin).map(|lack| lack.dies_at).collect();
        let day = NOW + DAY;
        assert_eq!(dies, [Some(day - 21 * 3_600), Some(NOW + DAY / 2), Some(day - 60), Some(day), None]);
        let mut closure = Closure::default();
        closure.mention(&mention("realtime/1", Some(NOW)));
        let given = Lifetimes::new(Some(Duration::from_secs(60)));
        assert_eq!(closure.judge(&given, NOW).lacking(&origin).next().unwrap().dies_at, Some(NOW + 60));
    }

    #[test]
    fn a_row_is_small_and_repeats_do_not_add_up() {
        assert!(size_of::<Row>() <= 32, "{}", size_of::<Row>());
        let mut closure = Closure::default();
        for round in 0..5 {
            for id in 0..UNSETTLED_MAX {
                closure.mention(&mention(&id.to_string(), Some(NOW - round)));
            }
        }
        assert!(closure.rows.len() <= 3 * UNSETTLED_MAX && closure.text.len() <= 3 * 5 * UNSETTLED_MAX);
        let judged = judge(closure);
        assert_eq!((judged.known, judged.at_risk()), (UNSETTLED_MAX as u64, UNSETTLED_MAX as u64));
    }
}
