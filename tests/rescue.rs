//! What it brings that of the files that are ready those that die first go first: a run over a slow line, simulated on plain
//! values with the decisions of the program, against the same run in the order of the list.
//!
//! The simulated world is told apart from what the program may know of it: a file dies at its true moment, while the
//! order follows from what records, links and answers have shown so far. Nothing here reads a clock or throws dice
//! but the seeded ones.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and this one prints a table"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;
use vfetch::job::Family;
use vfetch::lifetime::{Birth, Lesson, Lifetimes, host};

const HOUR: u64 = 3_600;
/// When the run begins, in seconds since 1970.
const BEGIN: u64 = 1_767_323_045;
/// Files whose links are known and which have not begun: the bound of the program.
const READY_MAX: usize = 4_096;
/// The line's speed in bytes per second.
const LINE: u64 = 10_000_000;
/// Asking for a job takes so long, in seconds, with many questions under way at once.
const ASK: f64 = 0.01;
/// A file that is gone takes a slot for so long.
const MISS: f64 = 0.05;

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
    /// Signed links end so long after the question.
    signed_for: Option<u64>,
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

/// A list of an account of two days: videos that live a day, images of a host that keeps them two hours and says so,
/// sound of a host that keeps it six hours and does not, and files in a customer's own bucket behind signed links.
fn workload(seed: u64, files: usize) -> Vec<File> {
    let mut dice = fastrand::Rng::with_seed(seed);
    (0..files)
        .map(|_| {
            let (family, host, life, tells, signed_for, megabytes) = match dice.u32(0..100) {
                0..55 => ("enterprise/video", "videos.test", 24 * HOUR, false, None, 4..40),
                55..75 => ("images", "images.test", 2 * HOUR, true, None, 1..4),
                75..85 => ("voice", "sound.test", 6 * HOUR, false, None, 1..8),
                _ => ("video", "bucket.test", 1_000 * HOUR, false, Some(HOUR / 2), 4..40),
            };
            // Nothing is older than its life: what has died already is nobody's to rescue.
            let born = BEGIN - dice.u64(0..life.min(24 * HOUR));
            // A third of the jobs were noted while they were pending, within ten minutes before they were done.
            let noted = dice.u32(0..3) == 0;
            let birth = if noted { Birth::At(born - dice.u64(0..600)) } else { Birth::Before(BEGIN) };
            let bytes = dice.u64(megabytes) * 1_000_000;
            File { bytes, born, dies: born + life, birth, family, host, signed_for, tells }
        })
        .collect()
}

/// Bytes that came home.
fn run(list: &[File], policy: Policy) -> u64 {
    let mut lifetimes = Lifetimes::default();
    let (mut now, mut asked, mut rescued) = (0.0_f64, 0, 0);
    let mut ready: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    loop {
        // Questions go on while files are transferred, up to the bound.
        while asked < list.len() && ready.len() < READY_MAX && (asked as f64) * ASK <= now {
            let file = &list[asked];
            let link_ends = file.signed_for.map(|span| moment(now) + span);
            ready.insert(
                (rank(file, asked, link_ends, policy, &lifetimes), asked),
                link_ends.unwrap_or(u64::MAX),
            );
            asked += 1;
        }
        let Some(((_, place), link_ends)) = ready.pop_first() else {
            if asked == list.len() {
                return rescued;
            }
            now = (asked as f64) * ASK;
            continue;
        };
        let file = &list[place];
        let family = Family::named(file.family).unwrap();
        let age = Duration::from_secs(moment(now) - file.born);
        if moment(now) >= file.dies || moment(now) >= link_ends {
            now += MISS;
            if let (Birth::At(born), u64::MAX) = (file.birth, link_ends) {
                lifetimes.learn(file.host, &family, Lesson::Gone(Duration::from_secs(moment(now) - born)));
            }
            continue;
        }
        rescued += file.bytes;
        now += file.bytes as f64 / LINE as f64;
        let told = Lesson::Told(Duration::from_secs(file.dies - file.born));
        lifetimes.learn(file.host, &family, if file.tells { told } else { Lesson::Alive(age) });
    }
}

fn rank(file: &File, place: usize, link_ends: Option<u64>, policy: Policy, lifetimes: &Lifetimes) -> u64 {
    match policy {
        Policy::List => place as u64,
        Policy::Oracle => file.dies.min(link_ends.unwrap_or(u64::MAX)),
        Policy::Known => {
            let query = link_ends.map_or(String::new(), |ends| format!("?Expires={ends}&Signature=x"));
            let link = Url::parse(&format!("https://{}/{place}.mp4{query}", file.host)).unwrap();
            assert_eq!(host(&link), file.host);
            let family = Family::named(file.family).unwrap();
            lifetimes.dies_at(&link, &family, file.birth).unwrap_or(u64::MAX)
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
fn moment(now: f64) -> u64 {
    BEGIN + now as u64
}

#[test]
fn what_dies_first_goes_first_and_more_is_rescued_than_in_the_order_of_the_list() {
    let files = 30_000;
    println!("{files} files over a line of {} MB/s; of what was listed, in GB:", LINE / 1_000_000);
    println!(
        "{:24} {:>8} {:>8} {:>8} {:>8}  {}",
        "list", "listed", "list", "known", "oracle", "known against list"
    );
    let orders: [(&str, fn(&mut Vec<File>)); 3] = [
        ("oldest first", |list| list.sort_by_key(|file| file.born)),
        ("newest first", |list| list.sort_by_key(|file| std::cmp::Reverse(file.born))),
        ("in no order", |_| ()),
    ];
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
        let gain = 100.0 * (known / in_order - 1.0);
        println!("{name:24} {listed:8.0} {in_order:8.0} {known:8.0} {oracle:8.0}  {gain:+.1} %");
        assert!(known >= in_order, "{name}: {known} GB, and {in_order} GB in the order of the list");
    }
}
