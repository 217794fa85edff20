//! Damage of every kind, planted into a whole archive.

use std::collections::BTreeMap;
use std::fs;

use crate::bed::{Bed, content};

/// What may be done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// One bit of a file is another one.
    Flip,
    /// A file ends too early.
    Cut,
    /// A file is longer than it was.
    Grow,
    /// A file is gone.
    Delete,
    /// Two files of the same length have changed places.
    Swap,
    /// A file lies there that nobody recorded.
    Extra,
    /// One bit of the record is another one.
    Record,
    /// The record is gone.
    NoRecord,
}

pub(crate) const ALL: [Damage; 8] = [
    Damage::Flip,
    Damage::Cut,
    Damage::Grow,
    Damage::Delete,
    Damage::Swap,
    Damage::Extra,
    Damage::Record,
    Damage::NoRecord,
];

/// A whole archive of so many jobs with one to three files each, some of them of another family.
pub(crate) fn whole(bed: &Bed, jobs: u64) {
    for id in 0..jobs {
        let contents: Vec<Vec<u8>> = (0..=id % 3)
            .map(|output| content(id * 10 + output, 300 + usize::try_from(id % 7).unwrap()))
            .collect();
        let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        bed.complete(&name(id), &contents);
    }
}

pub(crate) fn name(id: u64) -> String {
    if id % 5 == 4 { format!("realtime/{id}") } else { id.to_string() }
}

pub(crate) fn folder(id: u64) -> String {
    if id % 5 == 4 { format!("realtime.{id}") } else { id.to_string() }
}

/// Damages this job; the lines that a verification must print for it, without the reasons.
pub(crate) fn plant(bed: &Bed, id: u64, damage: Damage, dice: &mut fastrand::Rng) -> Vec<String> {
    let record = bed.read(&name(id));
    let folder = folder(id);
    let place = format!("{folder}/{}", record.files[dice.usize(..record.files.len())].path);
    let path = bed.file(&place);
    let manifest = format!("{folder}/manifest.json");
    match damage {
        Damage::Flip => {
            let mut bytes = fs::read(&path).unwrap();
            let at = dice.usize(..bytes.len());
            bytes[at] ^= 1 << dice.u8(..8);
            fs::write(&path, bytes).unwrap();
            vec![format!("* {place}")]
        }
        Damage::Cut => {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..dice.usize(..bytes.len())]).unwrap();
            vec![format!("* {place}")]
        }
        Damage::Grow => {
            let mut bytes = fs::read(&path).unwrap();
            bytes.push(0);
            fs::write(&path, bytes).unwrap();
            vec![format!("* {place}")]
        }
        Damage::Delete => {
            fs::remove_file(&path).unwrap();
            vec![format!("- {place}")]
        }
        Damage::Swap => swap(bed, id, &place),
        Damage::Extra => {
            let names = ["notes.txt", "147-9.gif", ".hidden", "x.part", "Manifest.json"];
            let extra = format!("{folder}/{}", names[dice.usize(..names.len())]);
            fs::write(bed.file(&extra), "not ours").unwrap();
            vec![format!("+ {extra}")]
        }
        Damage::Record => {
            let bytes = fs::read(bed.file(&manifest)).unwrap();
            let keep = dice.usize(..bytes.len() - 2);
            fs::write(bed.file(&manifest), &bytes[..keep]).unwrap();
            vec![format!("! {manifest}")]
        }
        Damage::NoRecord => {
            fs::remove_file(bed.file(&manifest)).unwrap();
            let files = record.files.iter().map(|file| format!("+ {folder}/{}", file.path));
            files.chain([format!("- {manifest}")]).collect()
        }
    }
}

/// Two jobs whose ids are 7 apart have files of the same length; the second one gives its first file.
fn swap(bed: &Bed, id: u64, place: &str) -> Vec<String> {
    let other = format!("{}/{}", folder(id + 7), bed.read(&name(id + 7)).files[0].path);
    let (one, two) = (bed.file(place), bed.file(&other));
    fs::rename(&one, bed.path("swap")).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(bed.path("swap"), &two).unwrap();
    vec![format!("* {place}"), format!("* {other}")]
}

/// Plants so many damages of all kinds, at most one a job; the lines that a verification must print for each.
pub(crate) fn plant_all(
    bed: &Bed,
    jobs: u64,
    damages: usize,
    seed: u64,
) -> BTreeMap<u64, (Damage, Vec<String>)> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut planted: BTreeMap<u64, (Damage, Vec<String>)> = BTreeMap::new();
    while planted.len() < damages {
        let damage = ALL[planted.len() % ALL.len()];
        let id = dice.u64(..jobs - 7);
        let free = |id| !planted.contains_key(&id) && !planted.contains_key(&(id + 7));
        let partner_of_a_swap =
            id >= 7 && planted.get(&(id - 7)).is_some_and(|(other, _)| *other == Damage::Swap);
        if free(id) && !partner_of_a_swap {
            let lines = plant(bed, id, damage, &mut dice);
            planted.insert(id, (damage, lines));
        }
    }
    planted
}
