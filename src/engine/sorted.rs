//! The folders of an archive in natural order, `9` before `10`, without ever holding all of their names.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::store::{Folders, Store, StoreError};

/// So many names are held at once.
const AT_ONCE: usize = 1 << 18;

/// The folders of an archive in natural order. The names are passed over once for each quarter of a million of them,
/// and no more than these are held. Blocks.
pub(super) fn sorted(store: &Store) -> Result<Folders, StoreError> {
    sorted_by(store.clone(), AT_ONCE)
}

fn sorted_by(store: Store, at_once: usize) -> Result<Folders, StoreError> {
    let first = smallest(store.folders()?, None, at_once)?;
    let mut slice =
        Slice { store, at_once, more: first.len() == at_once, last: None, names: first.into_iter() };
    Ok(Box::new(std::iter::from_fn(move || slice.next())))
}

struct Slice {
    store: Store,
    at_once: usize,
    more: bool,
    last: Option<String>,
    names: std::vec::IntoIter<String>,
}

impl Slice {
    fn next(&mut self) -> Option<Result<String, StoreError>> {
        if self.names.len() == 0 && std::mem::take(&mut self.more) {
            let names =
                self.store.folders().and_then(|all| smallest(all, self.last.as_deref(), self.at_once));
            match names {
                Ok(names) => {
                    self.more = names.len() == self.at_once;
                    self.names = names.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let name = self.names.next()?;
        if self.names.len() == 0 {
            self.last = Some(name.clone());
        }
        Some(Ok(name))
    }
}

/// The first so many names behind this one, in order.
fn smallest(all: Folders, behind: Option<&str>, count: usize) -> Result<Vec<String>, StoreError> {
    let mut heap: BinaryHeap<Natural> = BinaryHeap::new();
    for name in all {
        let name = Natural(name?);
        if behind.is_some_and(|behind| natural(&name.0, behind) != Ordering::Greater) {
            continue;
        }
        if heap.len() < count {
            heap.push(name);
        } else if let Some(mut greatest) = heap.peek_mut()
            && name < *greatest
        {
            *greatest = name;
        }
    }
    Ok(heap.into_sorted_vec().into_iter().map(|name| name.0).collect())
}

#[derive(PartialEq, Eq)]
struct Natural(String);

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        natural(&self.0, &other.0)
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares names as people count: runs of digits by their number, everything else by its bytes. Total: names that
/// count alike (`7` and `07`) are told apart by their bytes.
fn natural(one: &str, two: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), two.as_bytes());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let ordering = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (x, y) = (number(&mut a), number(&mut b));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            x.cmp(y)
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.len().cmp(&b.len()).then_with(|| one.cmp(two))
}

/// Takes the digits off the front; gives them without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let order =
            ["", "7", "07", "9", "10", "10a", "a", "a9", "a9b", "a10", "realtime.2", "realtime.10", "~a"];
        for (i, one) in order.iter().enumerate() {
            for (j, two) in order.iter().enumerate() {
                let want = i.cmp(&j);
                if [*one, *two] == ["7", "07"] || [*one, *two] == ["07", "7"] {
                    assert_ne!(natural(one, two), Ordering::Equal);
                } else {
                    assert_eq!(natural(one, two), want, "{one} {two}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9a-z~.]{0,6}", b in "[0-9a-z~.]{0,6}", c in "[0-9a-z~.]{0,6}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b) == Ordering::Equal, a == b);
            if natural(&a, &b) != Ordering::Greater && natural(&b, &c) != Ordering::Greater {
                prop_assert_ne!(natural(&a, &c), Ordering::Greater);
            }
        }
    }

    #[test]
    fn all_names_come_in_order_though_only_few_are_held() {
        let names: Vec<String> = (0..200).rev().map(|id| id.to_string()).collect();
        let dir = tempfile::tempdir().unwrap();
        for name in &names {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let store = Store::create(dir.path(), false).unwrap();
        for at_once in [1, 7, 100, 199, 200, 201] {
            let sorted: Vec<String> =
                sorted_by(store.clone(), at_once).unwrap().map(Result::unwrap).collect();
            assert_eq!(sorted.len(), 200, "{at_once}");
            assert!(sorted.iter().enumerate().all(|(i, name)| *name == i.to_string()), "{at_once}");
        }
    }
}
