//! How long files live where they are kept, and so which of those that are ready is to be fetched first.
//!
//! Nobody promises how long a file stays: some families document a day, signed links end at a moment that stands in
//! them, hosts that expire objects may say so in a header, and the rest shows only in files that were still there, or
//! no longer, at some age. [`Lifetimes`] gathers this for each host and family and estimates when a file dies. The
//! estimate orders the queue and nothing else: a file is asked for whatever it says, and a wrong one costs order, not
//! files.
//!
//! Two things were tried in a simulation (`tests/rescue.rs`) and made the order worse than none. A signature that ends
//! soon is no reason to hurry where asking the job again brings a new one, so only a signature that is not as fresh
//! as its link counts. And a file whose birth nobody knows must not wait behind all of those whose birth is known: it
//! is taken to be as old as those that were met just before it, since lists are seldom in no order at all.
//!
//! Moments are seconds since 1970, ages are durations; the caller brings the clock.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use url::Url;

use crate::job::Family;
use crate::manifest::{Manifest, seconds_of};

/// What the enterprise families document: outputs are deleted after a day.
const DOCUMENTED: Duration = Duration::from_secs(24 * 60 * 60);
/// Hosts are named by servers, so no more of them than this are remembered.
const PLACES_KEPT: usize = 1_024;
/// A signature that is no older than this was made when its link was given: asking again brings a new one.
const FRESH_SIGNATURE_S: u64 = 5 * 60;
/// How much a birth moves the average of its family: the last sixteen or so decide.
const BIRTH_WEIGHT: f64 = 1.0 / 16.0;
/// What is gone at an age below this was never there: an upload that failed, not a life that ended.
const NEVER_THERE: Duration = Duration::from_secs(600);
/// Moments outside of these years are not ends of links: 2000 and 2200, in seconds since 1970.
const PLAUSIBLE: std::ops::Range<u64> = 946_684_800..7_258_118_400;
/// A link that is signed for longer than this is signed for good: ten years.
const SIGNED_AT_MOST_S: u64 = 316_224_000;

/// When a file came to be, as far as it is known, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// Then: its host dated it, or the service was last seen to be working on its job.
    At(u64),
    /// Some time before this moment, at which its job was first seen to be done.
    Before(u64),
}

impl Birth {
    /// When a job's files came to be, as far as its record tells.
    ///
    /// The first row that holds decides:
    ///
    /// | the record | birth |
    /// | --- | --- |
    /// | a host dated one of its files | at the earliest of those dates |
    /// | the service was seen to be working on it | at that moment: no earlier |
    /// | the service was seen to be done with it | before that moment |
    /// | else | unknown |
    #[must_use]
    pub fn recorded(manifest: &Manifest) -> Option<Self> {
        let dated =
            manifest.files.iter().filter_map(|file| file.last_modified.as_deref().and_then(http_date)).min();
        let moment = |text: &Option<String>| text.as_deref().and_then(seconds_of);
        let born = dated.or_else(|| moment(&manifest.pending_seen_at)).map(Self::At);
        born.or_else(|| moment(&manifest.done_seen_at).map(Self::Before))
    }

    /// The age at a moment, where the birth is known.
    #[must_use]
    pub fn age(self, now_unix_s: u64) -> Option<Duration> {
        match self {
            Self::At(born) => Some(Duration::from_secs(now_unix_s.saturating_sub(born))),
            Self::Before(_) => None,
        }
    }
}

/// What one file showed about how long files live at its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// The host said how long it keeps them.
    Told(Duration),
    /// A file of this age was there.
    Alive(Duration),
    /// A file of this age was no longer there.
    Gone(Duration),
}

/// What a host says about a file's times, as it stands in the answer's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// `Expires`.
    pub expires: Option<&'a str>,
    /// `Last-Modified`.
    pub last_modified: Option<&'a str>,
    /// `Cache-Control`.
    pub cache_control: Option<&'a str>,
    /// `x-amz-expiration`, which S3 sends where a lifecycle rule will delete the object.
    pub amz_expiration: Option<&'a str>,
}

impl Headers<'_> {
    /// What an answer that brought a file teaches.
    ///
    /// | the headers | lesson |
    /// | --- | --- |
    /// | no `Last-Modified`, or one in the future | none: the file's age is unknown |
    /// | a deletion date in `x-amz-expiration` | told: from birth to that date |
    /// | `Expires` after the birth, without `Cache-Control: max-age` | told: from birth to `Expires` |
    /// | `Expires` beside a `max-age` | alive: it speaks of caches, not of the file |
    /// | none of these | alive at its age |
    #[must_use]
    pub fn lesson(&self, now_unix_s: u64) -> Option<Lesson> {
        let born = self.last_modified.and_then(http_date)?;
        let age = Duration::from_secs(now_unix_s.checked_sub(born)?);
        let cached = self.cache_control.is_some_and(|value| value.to_ascii_lowercase().contains("max-age"));
        let deleted = self.amz_expiration.and_then(|value| {
            let date = value.split("expiry-date=\"").nth(1)?.split('"').next()?;
            http_date(date)
        });
        let end = deleted.or_else(|| self.expires.filter(|_| !cached).and_then(http_date));
        let told = end.and_then(|end| end.checked_sub(born)).filter(|life| *life > 0);
        Some(told.map_or(Lesson::Alive(age), |life| Lesson::Told(Duration::from_secs(life))))
    }

    /// When the file came to be, where its host says so.
    #[must_use]
    pub fn birth(&self) -> Option<Birth> {
        self.last_modified.and_then(http_date).map(Birth::At)
    }
}

/// What is known of one family's files at one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Learnt {
    told: Option<Duration>,
    oldest_alive: Duration,
    youngest_gone: Option<Duration>,
}

impl Learnt {
    /// How long such files live; `None` where they are not known to die.
    ///
    /// The first row that holds decides:
    ///
    /// | the host told | a file was gone at an age that none outlived | the family documents a time that none outlived | life |
    /// | --- | --- | --- | --- |
    /// | yes | | | what it told |
    /// | | yes | yes | the shorter of the two |
    /// | | yes | | the age of the youngest that was gone |
    /// | | | yes | what is documented |
    /// | | | | not known to end |
    fn life(&self, documented: Option<Duration>) -> Option<Duration> {
        let outlived = |age: &Duration| self.oldest_alive > *age;
        let gone = self.youngest_gone.filter(|age| !outlived(age));
        let documented = documented.filter(|age| !outlived(age));
        self.told.or(match (gone, documented) {
            (Some(gone), Some(documented)) => Some(gone.min(documented)),
            (gone, documented) => gone.or(documented),
        })
    }
}

/// How long files live, for each host and family.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes {
    given: Option<Duration>,
    learnt: HashMap<(String, String), Learnt>,
    /// When the files of a family that were met last came to be, on a moving average, in seconds since 1970.
    births: HashMap<String, f64>,
}

/// A link as it was given.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The link.
    pub url: &'a Url,
    /// When it was given, in seconds since 1970.
    pub given_at: u64,
    /// Whether its job may be asked for another one.
    pub renewable: bool,
}

impl Lifetimes {
    /// Nothing learnt yet; `given` is the life that the user names, which then holds for every host and family.
    #[must_use]
    pub fn new(given: Option<Duration>) -> Self {
        Self { given, ..Self::default() }
    }

    /// Takes a lesson in.
    pub fn learn(&mut self, host: &str, family: &Family, lesson: Lesson) {
        let place = (host.to_owned(), family.name().to_owned());
        if self.learnt.len() >= PLACES_KEPT && !self.learnt.contains_key(&place) {
            return;
        }
        let learnt = self.learnt.entry(place).or_default();
        match lesson {
            Lesson::Told(life) => learnt.told = Some(learnt.told.map_or(life, |told| told.min(life))),
            Lesson::Alive(age) => learnt.oldest_alive = learnt.oldest_alive.max(age),
            Lesson::Gone(age) => {
                learnt.youngest_gone = Some(learnt.youngest_gone.map_or(age, |gone| gone.min(age)));
            }
        }
    }

    /// Notes when a file of a family came to be; what is met next is taken to be about as old.
    pub fn note_birth(&mut self, family: &Family, born: u64) {
        if self.births.len() >= PLACES_KEPT && !self.births.contains_key(family.name()) {
            return;
        }
        let typical = self.births.entry(family.name().to_owned()).or_insert(born as f64);
        *typical += (born as f64 - *typical) * BIRTH_WEIGHT;
    }

    /// How long a family's files live at a host; `None` where they are not known to die.
    #[must_use]
    pub fn life(&self, host: &str, family: &Family) -> Option<Duration> {
        let learnt = self.learnt.get(&(host.to_owned(), family.name().to_owned()));
        self.given.or_else(|| learnt.copied().unwrap_or_default().life(documented(family)))
    }

    /// When the file behind a link dies, in seconds since 1970; `None` where it is not known to.
    ///
    /// | the link | dies |
    /// | --- | --- |
    /// | is unsigned | a life after the birth, where both are known |
    /// | was signed within five minutes before it was given, and can be renewed | the same: its signature is no worry |
    /// | was signed earlier, nobody says when, or cannot be renewed | with its signature, or as above where that is sooner |
    ///
    /// | the birth | is taken to be |
    /// | --- | --- |
    /// | at a moment | then |
    /// | before a moment, and births in this family were met | on their average, but before that moment |
    /// | before a moment | half a life before it: nobody knows which half it is in |
    #[must_use]
    pub fn dies_at(&self, link: &Link<'_>, family: &Family, birth: Birth) -> Option<u64> {
        let own =
            self.life(host(link.url), family).map(|life| match (birth, self.births.get(family.name())) {
                (Birth::Before(seen), Some(typical)) => death(life, Birth::At(rounded(*typical).min(seen))),
                (birth, _) => death(life, birth),
            });
        let signature = signature(link.url).filter(|signature| {
            let fresh =
                signature.since.is_some_and(|since| since.saturating_add(FRESH_SIGNATURE_S) >= link.given_at);
            !(fresh && link.renewable)
        });
        [signature.map(|signature| signature.until), own].into_iter().flatten().min()
    }

    /// When a job's files die of which no link is known.
    #[must_use]
    pub fn job_dies_at(&self, family: &Family, birth: Birth) -> Option<u64> {
        self.given.or_else(|| documented(family)).map(|life| death(life, birth))
    }
}

/// What a link teaches whose host says for good that there is no such file.
///
/// | the link | the birth | the age | lesson |
/// | --- | --- | --- | --- |
/// | its signature has ended | | | none: the file may be there behind another link |
/// | any other | unknown | | none |
/// | any other | known | under ten minutes | none: it was never there |
/// | any other | known | more | gone at that age |
#[must_use]
pub fn gone_lesson(url: &Url, birth: Birth, now_unix_s: u64) -> Option<Lesson> {
    let ended = signature(url).is_some_and(|signature| signature.until <= now_unix_s);
    let age = birth.age(now_unix_s).filter(|age| *age >= NEVER_THERE && !ended);
    age.map(Lesson::Gone)
}

/// What a record teaches of files that were gone when it was written.
#[must_use]
pub fn recorded_losses(manifest: &Manifest) -> Vec<(Url, Lesson)> {
    let (Some(birth), Some(then)) = (Birth::recorded(manifest), seconds_of(&manifest.updated_at)) else {
        return Vec::new();
    };
    let gone = manifest.missing.iter().filter(|missing| missing.gone).flat_map(|missing| &missing.reasons);
    let urls = gone.filter_map(|reason| Url::parse(reason.source.as_deref()?).ok());
    urls.filter_map(|url| gone_lesson(&url, birth, then).map(|lesson| (url, lesson))).collect()
}

/// A link's host, as lessons are kept by it.
#[must_use]
pub fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn death(life: Duration, birth: Birth) -> u64 {
    match birth {
        Birth::At(born) => born.saturating_add(life.as_secs()),
        Birth::Before(seen) => seen.saturating_add(life.as_secs() / 2),
    }
}

fn documented(family: &Family) -> Option<Duration> {
    family.name().starts_with("enterprise/").then_some(DOCUMENTED)
}

fn rounded(moment: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a moment after 1970")]
    let moment = moment.max(0.0) as u64;
    moment
}

/// From when to when a signed link holds, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// When it was signed, where it says so.
    pub since: Option<u64>,
    /// When it ends.
    pub until: u64,
}

/// From when to when a link holds, read from the fields that sign it.
///
/// | who signs | since | until |
/// | --- | --- | --- |
/// | S3 and R2 (version 4), Google (version 4), Alibaba | `X-Amz-Date`, `X-Goog-Date`, `x-oss-date` | as long after it as `X-Amz-Expires`, … says |
/// | S3 (version 2), CloudFront, Google (version 2), others | | `Expires`, a moment |
/// | Azure | `st`, a date | `se`, a date, beside `sig` |
#[must_use]
pub fn signature(url: &Url) -> Option<Signature> {
    let field = |name: &str| {
        let same = |key: &str| key.eq_ignore_ascii_case(name);
        url.query_pairs().find(|(key, _)| same(key)).map(|(_, value)| value.into_owned())
    };
    url.query()?;
    let spans =
        [("X-Amz-Date", "X-Amz-Expires"), ("X-Goog-Date", "X-Goog-Expires"), ("x-oss-date", "x-oss-expires")];
    let span = spans.into_iter().find_map(|(date, expires)| {
        let since = basic_date(&field(date)?)?;
        let seconds = field(expires)?.parse::<u64>().ok().filter(|seconds| *seconds <= SIGNED_AT_MOST_S)?;
        Some(Signature { since: Some(since), until: since + seconds })
    });
    let moment = || Some(Signature { since: None, until: field("Expires")?.parse::<u64>().ok()? });
    let azure = || {
        let since = field("st").and_then(|date| seconds_of(&date));
        field("sig").and_then(|_| Some(Signature { since, until: seconds_of(&field("se")?)? }))
    };
    span.or_else(moment).or_else(azure).filter(|signature| PLAUSIBLE.contains(&signature.until))
}

/// `20260102T030405Z`, as signed links write a moment.
fn basic_date(text: &str) -> Option<u64> {
    let plain = text.len() == 16 && text.is_ascii();
    let parts =
        plain.then(|| [&text[..4], &text[4..6], &text[6..8], &text[9..11], &text[11..13], &text[13..15]]);
    let [year, month, day, hour, minute, second] = parts?;
    seconds_of(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// A moment as headers have it, in seconds since 1970.
#[must_use]
pub fn http_date(text: &str) -> Option<u64> {
    let moment = httpdate::parse_http_date(text.trim()).ok()?;
    moment.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    const HOUR: fn(u64) -> Duration = |hours| Duration::from_secs(hours * 3_600);
    /// 2026-01-02T03:04:05Z.
    const NOW: u64 = 1_767_323_045;
    const NOW_HTTP: &str = "Fri, 02 Jan 2026 03:04:05 GMT";
    const DAY_AGO_HTTP: &str = "Thu, 01 Jan 2026 03:04:05 GMT";

    fn family(name: &str) -> Family {
        Family::named(name).unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_life_is_what_was_told_else_the_least_that_nothing_contradicts() {
        let day = Some(HOUR(24));
        let table = [
            // told, oldest alive, youngest gone, documented, life
            (Some(HOUR(3)), HOUR(9), Some(HOUR(1)), day, Some(HOUR(3))),
            (None, HOUR(0), Some(HOUR(2)), day, Some(HOUR(2))),
            (None, HOUR(0), Some(HOUR(30)), day, Some(HOUR(24))),
            (None, HOUR(25), Some(HOUR(30)), day, Some(HOUR(30))),
            (None, HOUR(3), Some(HOUR(2)), day, Some(HOUR(24))),
            (None, HOUR(0), Some(HOUR(2)), None, Some(HOUR(2))),
            (None, HOUR(3), Some(HOUR(2)), None, None),
            (None, HOUR(24), None, day, Some(HOUR(24))),
            (None, HOUR(25), None, day, None),
            (None, HOUR(0), None, None, None),
        ];
        for (told, oldest_alive, youngest_gone, documented, want) in table {
            let learnt = Learnt { told, oldest_alive, youngest_gone };
            assert_eq!(learnt.life(documented), want, "{learnt:?}");
        }
    }

    #[test]
    fn lessons_are_kept_by_host_and_family_and_the_strictest_holds() {
        let mut lifetimes = Lifetimes::default();
        let (video, flux) = (family("enterprise/video"), family("enterprise/flux"));
        assert_eq!(lifetimes.life("a.test", &video), Some(HOUR(24)));
        assert_eq!(lifetimes.life("a.test", &family("realtime")), None);
        lifetimes.learn("a.test", &video, Lesson::Told(HOUR(9)));
        lifetimes.learn("a.test", &video, Lesson::Told(HOUR(7)));
        lifetimes.learn("a.test", &video, Lesson::Told(HOUR(8)));
        assert_eq!(lifetimes.life("a.test", &video), Some(HOUR(7)));
        assert_eq!(lifetimes.life("b.test", &video), Some(HOUR(24)));
        assert_eq!(lifetimes.life("a.test", &flux), Some(HOUR(24)));
        for age in [5, 4, 6] {
            lifetimes.learn("b.test", &flux, Lesson::Gone(HOUR(age)));
        }
        assert_eq!(lifetimes.life("b.test", &flux), Some(HOUR(4)));
        for age in [27, 30, 26] {
            lifetimes.learn("b.test", &flux, Lesson::Alive(HOUR(age)));
        }
        assert_eq!(lifetimes.life("b.test", &flux), None, "what was alive at 30 hours refutes a day");
    }

    #[test]
    fn what_the_user_gives_holds_for_every_host_and_family() {
        let mut lifetimes = Lifetimes::new(Some(HOUR(2)));
        lifetimes.learn("a.test", &family("enterprise/video"), Lesson::Told(HOUR(9)));
        assert_eq!(lifetimes.life("a.test", &family("enterprise/video")), Some(HOUR(2)));
        assert_eq!(lifetimes.job_dies_at(&family("realtime"), Birth::At(NOW)), Some(NOW + 7_200));
    }

    #[test]
    fn lessons_are_kept_by_the_host_alone() {
        assert_eq!(host(&url("https://somebody:word@m.test:8443/a.mp4?x=1")), "m.test");
    }

    #[test]
    fn hosts_that_servers_make_up_do_not_fill_the_memory() {
        let mut lifetimes = Lifetimes::default();
        let video = family("realtime");
        for host in 0..2 * PLACES_KEPT {
            lifetimes.learn(&format!("h{host}.test"), &video, Lesson::Gone(HOUR(1)));
        }
        lifetimes.learn("h0.test", &video, Lesson::Gone(HOUR(1) / 2));
        assert_eq!(
            (lifetimes.learnt.len(), lifetimes.life("h0.test", &video)),
            (PLACES_KEPT, Some(HOUR(1) / 2))
        );
    }

    #[test]
    fn a_file_dies_a_life_after_its_birth_and_some_links_with_their_signature() {
        let lifetimes = Lifetimes::default();
        let plain = "https://a.test/x.mp4".to_owned();
        let (soon, late) = (NOW + 60, NOW + 999_999);
        let moment = |end: u64| format!("{plain}?Expires={end}&Signature=x");
        let dated = |date: &str| format!("{plain}?X-Amz-Date={date}&X-Amz-Expires=900");
        let (fresh, stale) = (dated("20260102T030000Z"), dated("20260102T025900Z"));
        let day = Some(NOW + 86_400);
        let table = [
            (plain.clone(), true, "realtime", Birth::At(NOW), None),
            (plain.clone(), true, "enterprise/video", Birth::At(NOW), day),
            (plain.clone(), true, "enterprise/video", Birth::Before(NOW), Some(NOW + 43_200)),
            (moment(soon), true, "realtime", Birth::At(NOW), Some(soon)),
            (moment(soon), true, "enterprise/video", Birth::At(NOW), Some(soon)),
            (moment(late), true, "enterprise/video", Birth::At(NOW), day),
            (fresh.clone(), true, "realtime", Birth::At(NOW), None),
            (fresh.clone(), true, "enterprise/video", Birth::At(NOW), day),
            (fresh, false, "enterprise/video", Birth::At(NOW), Some(NOW - 245 + 900)),
            (stale, true, "enterprise/video", Birth::At(NOW), Some(NOW - 305 + 900)),
        ];
        for (link, renewable, name, birth, want) in table {
            let url = url(&link);
            let given = Link { url: &url, given_at: NOW, renewable };
            assert_eq!(lifetimes.dies_at(&given, &family(name), birth), want, "{link} {name} {birth:?}");
        }
        assert_eq!(lifetimes.job_dies_at(&family("realtime"), Birth::Before(NOW)), None);
    }

    #[test]
    fn a_file_of_unknown_age_is_taken_to_be_as_old_as_those_before_it() {
        let mut lifetimes = Lifetimes::default();
        let (url, video) = (url("https://a.test/x.mp4"), family("enterprise/video"));
        let link = Link { url: &url, given_at: NOW, renewable: true };
        let dies = |lifetimes: &Lifetimes| lifetimes.dies_at(&link, &video, Birth::Before(NOW)).unwrap();
        lifetimes.note_birth(&family("enterprise/flux"), NOW - 7);
        assert_eq!(dies(&lifetimes), NOW + 43_200, "another family says nothing");
        lifetimes.note_birth(&video, NOW - 80_000);
        assert_eq!(dies(&lifetimes), NOW + 6_400);
        lifetimes.note_birth(&video, NOW - 64_000);
        assert_eq!(dies(&lifetimes), NOW + 7_400, "a sixteenth of the way");
        for _ in 0..200 {
            lifetimes.note_birth(&video, NOW + 500);
        }
        assert_eq!(dies(&lifetimes), NOW + 86_400, "and never younger than when its job was seen");
        assert_eq!(lifetimes.dies_at(&link, &video, Birth::At(NOW - 9)), Some(NOW + 86_391));
        for made_up in 0..2 * PLACES_KEPT {
            lifetimes.note_birth(&family(&format!("v8/f{made_up}")), NOW);
        }
        assert_eq!(lifetimes.births.len(), PLACES_KEPT);
    }

    #[test]
    fn the_times_of_a_signed_link_stand_in_its_fields() {
        let until = |since: Option<u64>| Some(Signature { since, until: NOW + 900 });
        let table = [
            (
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260102T030405Z&X-Amz-Expires=900&X-Amz-Signature=x",
                until(Some(NOW)),
            ),
            ("x-amz-expires=900&x-amz-date=20260102T030405Z", until(Some(NOW))),
            ("X-Goog-Date=20260102T030405Z&X-Goog-Expires=900&X-Goog-Signature=x", until(Some(NOW))),
            ("x-oss-date=20260102T030405Z&x-oss-expires=900", until(Some(NOW))),
            ("AWSAccessKeyId=A&Expires=1767323945&Signature=x", until(None)),
            ("expires=1767323945", until(None)),
            ("sv=2024-11-04&se=2026-01-02T03%3A19%3A05Z&sig=x", until(None)),
            ("st=2026-01-02T03:04:05Z&se=2026-01-02T03%3A19%3A05Z&sig=x", until(Some(NOW))),
            ("se=2026-01-02T03%3A19%3A05Z", None),
            ("X-Amz-Date=20260102T030405Z", None),
            ("X-Amz-Date=2026010203040é&X-Amz-Expires=900", None),
            ("X-Amz-Date=20261302T030405Z&X-Amz-Expires=900", None),
            ("X-Amz-Date=20260102T030405&X-Amz-Expires=900", None),
            ("X-Amz-Date=20260102T030405Z&X-Amz-Expires=18446744073709551615", None),
            ("Expires=3600", None),
            ("Expires=99999999999999", None),
            ("Expires=soon", None),
            ("v=7", None),
        ];
        for (query, want) in table {
            assert_eq!(signature(&url(&format!("https://a.test/x.mp4?{query}"))), want, "{query}");
        }
        assert_eq!(signature(&url("https://a.test/Expires=1767323945")), None);
    }

    #[test]
    fn what_is_gone_teaches_its_age_unless_something_else_explains_it() {
        let plain = "https://a.test/x.mp4".to_owned();
        let signed = |end: u64| format!("{plain}?Expires={end}");
        let (day, minute) = (Birth::At(NOW - 86_400), Birth::At(NOW - 60));
        let table = [
            (plain.clone(), day, Some(Lesson::Gone(HOUR(24)))),
            (signed(NOW + 1), day, Some(Lesson::Gone(HOUR(24)))),
            (signed(NOW), day, None),
            (plain.clone(), minute, None),
            (plain.clone(), Birth::Before(NOW - 86_400), None),
            (plain.clone(), Birth::At(NOW + 60), None),
        ];
        for (link, birth, want) in table {
            assert_eq!(gone_lesson(&url(&link), birth, NOW), want, "{link} {birth:?}");
        }
    }

    #[test]
    fn a_record_tells_the_birth_of_its_job_as_well_as_it_can() {
        let job = crate::job::Defaults::new("https://a.test", None).unwrap().parse("147").unwrap().job;
        let blank = Manifest::new(&job, "2026-01-02T03:04:05Z");
        assert_eq!(Birth::recorded(&blank), None);
        let done = Manifest { done_seen_at: Some("2026-01-02T03:04:05Z".into()), ..blank };
        assert_eq!(Birth::recorded(&done), Some(Birth::Before(NOW)));
        let pending = Manifest { pending_seen_at: Some("2026-01-02T03:03:05Z".into()), ..done };
        assert_eq!(Birth::recorded(&pending), Some(Birth::At(NOW - 60)));
        let file = |dated: Option<&str>| -> crate::manifest::FileRecord {
            serde_json::from_value(serde_json::json!({"output": 0, "path": "147-0.gif", "bytes": 3, "kind": "gif",
                "sha256": crate::sha256::Digest::of(b"abc"), "source": "https://a.test/a.gif", "rung": "output",
                "attempts": 1, "archived_at": "2026-01-02T03:04:05Z", "last_modified": dated}))
            .unwrap()
        };
        let dated =
            Manifest { files: vec![file(None), file(Some(NOW_HTTP)), file(Some(DAY_AGO_HTTP))], ..pending };
        assert_eq!(Birth::recorded(&dated), Some(Birth::At(NOW - 86_400)));
    }

    #[test]
    fn a_record_of_what_was_lost_teaches_the_age_at_which_it_was() {
        let job = crate::job::Defaults::new("https://a.test", None).unwrap().parse("147").unwrap().job;
        let mut record = Manifest::new(&job, "2026-01-02T03:04:05Z");
        record.pending_seen_at = Some("2026-01-01T03:04:05Z".into());
        record.missing = serde_json::from_value(serde_json::json!([
            {"output": 0, "gone": true, "reasons": [{"cause": "absent", "detail": "", "source": "https://m.test/a.gif"},
                {"cause": "absent", "detail": ""}]},
            {"output": 1, "gone": false, "reasons": [{"cause": "broken", "detail": "", "source": "https://n.test/b.gif"}]},
        ]))
        .unwrap();
        let lost = recorded_losses(&record);
        assert_eq!(lost, [(url("https://m.test/a.gif"), Lesson::Gone(HOUR(24)))]);
        record.pending_seen_at = None;
        assert_eq!(recorded_losses(&record), []);
    }

    #[test]
    fn headers_teach_a_life_only_where_they_speak_of_the_file() {
        let day = Some(Lesson::Told(HOUR(24)));
        let alive = Some(Lesson::Alive(HOUR(24)));
        let base = Headers { last_modified: Some(DAY_AGO_HTTP), ..Headers::default() };
        let rule = "expiry-date=\"Fri, 02 Jan 2026 03:04:05 GMT\", rule-id=\"r\"";
        let table = [
            (Headers { expires: Some(NOW_HTTP), ..Headers::default() }, None),
            (Headers { last_modified: Some("Fri, 02 Jan 2099 03:04:05 GMT"), ..Headers::default() }, None),
            (base, alive),
            (Headers { expires: Some(NOW_HTTP), ..base }, day),
            (
                Headers { expires: Some(NOW_HTTP), cache_control: Some("public, Max-Age=14400"), ..base },
                alive,
            ),
            (Headers { amz_expiration: Some(rule), cache_control: Some("max-age=1"), ..base }, day),
            (Headers { amz_expiration: Some("expiry-date=never"), ..base }, alive),
            (Headers { expires: Some("0"), ..base }, alive),
            (Headers { expires: Some(DAY_AGO_HTTP), ..base }, alive),
        ];
        for (headers, want) in table {
            assert_eq!(headers.lesson(NOW), want, "{headers:?}");
        }
        assert_eq!(base.birth(), Some(Birth::At(NOW - 86_400)));
    }
}
