//! What it brings that of the files that are ready those that die first go first: a run over a slow line, simulated on plain
//! values with the decisions of the program, against the same run in the order of the list.
//!
//! The simulated world is told apart from what the program may know of it: a file dies at its true moment, while the
//! order follows from what records, links and answers have shown so far. Nothing here reads a clock or throws dice
//! but the seeded ones. The oracle, which knows when each file truly dies, shows how much there is to win at all.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and this one prints a table"
)]

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use url::Url;
use vfetch::job::Family;
use vfetch::lifetime::{Birth, Lesson, Lifetimes, Link};

const HOUR: u64 = 3_600;
/// When the run begins, in seconds since 1970.
const BEGIN: u64 = 1_767_323_045;
/// Files whose links are known and which have not begun: the bound of the program.
const READY_MAX: usize = 1_536;
/// The line's speed in bytes per second.
const LINE: u64 = 10_000_000;
/// Asking for a job takes so long, in seconds, with many questions under way at once.
const ASK: f64 = 0.01;
/// A file that is gone takes a slot for so long.
const MISS: f64 = 0.05;

/// How a host signs its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signs {
    /// Not at all.
    Never,
    /// Anew at each question, for so long.
    Anew(u64),
    /// Once, when the file was made; the link dies with the file.
    Once,
}

/// One file as it truly is, and as it shows itself.
#[derive(Clone)]
struct File {
    bytes: u64,
    born: u64,
    dies: u64,
    /// What is known of its birth before it is asked for.
    birth: Birth,
    family: &'static str,
    host: &'static str,
    signs: Signs,
    /// Whether the host says how long it keeps what it gives.
    tells: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// The order of the list.
    List,
    /// What dies first, as far as it can be known.
    Known,
    /// What truly dies first, which nobody can know.
    Oracle,
}

/// A list of an account: videos that live a day, images of a host that keeps them two hours and says so, sound of a host
/// that keeps it six hours and does not, files in a customer's own bucket behind links that are signed anew, and files
/// whose links were signed once for three hours.
fn workload(seed: u64, files: usize) -> Vec<File> {
    let mut dice = fastrand::Rng::with_seed(seed);
    (0..files)
        .map(|_| {
            let (family, host, life, tells, signs, megabytes) = match dice.u32(0..100) {
                0..55 => ("enterprise/video", "videos.test", 24 * HOUR, false, Signs::Never, 4..40),
                55..75 => ("images", "images.test", 2 * HOUR, true, Signs::Never, 1..4),
                75..85 => ("voice", "sound.test", 6 * HOUR, false, Signs::Never, 1..8),
                85..95 => ("video", "bucket.test", 1_000 * HOUR, false, Signs::Anew(HOUR / 2), 4..40),
                _ => ("realtime", "once.test", 3 * HOUR, false, Signs::Once, 4..20),
            };
            // Nothing is older than its life: what has died already is nobody's to rescue.
            let born = BEGIN - dice.u64(0..life.min(24 * HOUR));
            // A third of the jobs were noted while they were pending, within ten minutes before they were done.
            let noted = dice.u32(0..3) == 0;
            let birth = if noted { Birth::At(born - dice.u64(0..600)) } else { Birth::Before(BEGIN) };
            let bytes = dice.u64(megabytes) * 1_000_000;
            File { bytes, born, dies: born + life, birth, family, host, signs, tells }
        })
        .collect()
}

/// A file whose link is known.
struct Ready {
    place: usize,
    link_ends: u64,
    renewable: bool,
}

struct Run<'a> {
    list: &'a [File],
    policy: Policy,
    lifetimes: Lifetimes,
    now: f64,
    ready: BTreeMap<(u64, usize), Ready>,
}

impl Run<'_> {
    fn moment(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
        let seconds = self.now as u64;
        BEGIN + seconds
    }

    /// Lines a file up behind a link that was given now.
    fn line_up(&mut self, place: usize, renewable: bool) {
        let (file, given_at) = (&self.list[place], self.moment());
        let (signed_at, span) = match file.signs {
            Signs::Never => (0, u64::MAX),
            Signs::Anew(span) => (given_at, span),
            Signs::Once => (file.born, file.dies - file.born),
        };
        let link_ends = signed_at.saturating_add(span);
        let rank = match self.policy {
            Policy::List => place as u64,
            Policy::Oracle => file.dies,
            Policy::Known => {
                let url = link(file, signed_at, span);
                let link = Link { url: &url, given_at, renewable };
                self.lifetimes.dies_at(&link, &family(file), file.birth).unwrap_or(u64::MAX)
            }
        };
        self.ready.insert((rank, place), Ready { place, link_ends, renewable });
    }

    /// Transfers a file, or finds that there is none; the bytes that came home.
    fn transfer(&mut self, ready: &Ready) -> u64 {
        let (file, now) = (&self.list[ready.place], self.moment());
        if now < file.dies && now < ready.link_ends {
            self.now += file.bytes as f64 / LINE as f64;
            let age = Duration::from_secs(now - file.born);
            let told = Lesson::Told(Duration::from_secs(file.dies - file.born));
            self.lifetimes.learn(
                file.host,
                &family(file),
                if file.tells { told } else { Lesson::Alive(age) },
            );
            if let Birth::Before(_) = file.birth {
                self.lifetimes.note_birth(&family(file), file.born);
            }
            return file.bytes;
        }
        self.now += MISS;
        if ready.renewable && matches!(file.signs, Signs::Anew(_)) {
            // The job is asked once for a fresh link.
            self.line_up(ready.place, false);
        } else if let (Birth::At(born), Signs::Never) = (file.birth, file.signs) {
            let age = Duration::from_secs(now.saturating_sub(born));
            self.lifetimes.learn(file.host, &family(file), Lesson::Gone(age));
        }
        0
    }
}

fn family(file: &File) -> Family {
    Family::named(file.family).unwrap()
}

fn link(file: &File, signed_at: u64, span: u64) -> Url {
    let mut url = Url::parse(&format!("https://{}/clip.mp4", file.host)).unwrap();
    if file.signs != Signs::Never {
        let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(signed_at)).to_string();
        let date = date.replace(['-', ':'], "");
        url.set_query(Some(&format!("X-Amz-Date={date}&X-Amz-Expires={span}&X-Amz-Signature=x")));
    }
    url
}

/// How a list is ordered.
type Order = fn(&mut Vec<File>);

/// Bytes that came home.
fn run(list: &[File], policy: Policy) -> u64 {
    let mut run = Run { list, policy, lifetimes: Lifetimes::default(), now: 0.0, ready: BTreeMap::new() };
    let (mut asked, mut rescued) = (0, 0);
    loop {
        // Questions go on while files are transferred, up to the bound.
        while asked < list.len() && run.ready.len() < READY_MAX && (asked as f64) * ASK <= run.now {
            if let Birth::At(born) = list[asked].birth {
                run.lifetimes.note_birth(&family(&list[asked]), born);
            }
            run.line_up(asked, true);
            asked += 1;
        }
        match run.ready.pop_first() {
            Some((_, ready)) => rescued += run.transfer(&ready),
            None if asked == list.len() => return rescued,
            None => run.now = (asked as f64) * ASK,
        }
    }
}

#[test]
fn what_dies_first_goes_first_and_more_is_rescued_than_in_the_order_of_the_list() {
    let files = 30_000;
    println!("{files} files over a line of {} MB/s, {READY_MAX} ready; in GB:", LINE / 1_000_000);
    println!(
        "the list is   listed  in its order  dying first  by an oracle  lost, dying first against in order"
    );
    let orders: [(&str, Order); 3] = [
        ("oldest first", |list| list.sort_by_key(|file| file.born)),
        ("newest first", |list| list.sort_by_key(|file| std::cmp::Reverse(file.born))),
        ("in no order", |_| ()),
    ];
    let mut all = [0.0; 2];
    for (name, order) in orders {
        let mut sums = [0; 4];
        for seed in 0..2 {
            let mut list = workload(seed, files);
            order(&mut list);
            let rescued = [Policy::List, Policy::Known, Policy::Oracle].map(|policy| run(&list, policy));
            sums[0] += list.iter().map(|file| file.bytes).sum::<u64>();
            sums.iter_mut().skip(1).zip(rescued).for_each(|(sum, bytes)| *sum += bytes);
        }
        let [listed, in_order, known, oracle] = sums.map(|sum| sum as f64 / 2e9);
        let lost = 100.0 * ((listed - known) / (listed - in_order) - 1.0);
        println!("{name:12} {listed:7.1} {in_order:13.1} {known:12.1} {oracle:13.1}  {lost:+.1} %");
        // A list that begins with the oldest is in the best order as it is, and must not suffer.
        assert!(known > in_order * 0.998, "{name}: {known} GB, and {in_order} GB in the order of the list");
        all = [all[0] + in_order, all[1] + known];
    }
    println!("over all three: {:+.1} % bytes rescued", 100.0 * (all[1] / all[0] - 1.0));
    assert!(all[1] > all[0], "{} GB, and {} GB in the order of the lists", all[1], all[0]);
}
