//! The one sentence in which an audit ends.

use super::table::{counted, number};
use crate::closure::Judged;

/// What is at risk, and what is not.
///
/// | | |
/// | --- | --- |
/// | all are home | `9,812 jobs known, 9,812 home and whole; nothing at risk` |
/// | some failed at the service | `9,812 jobs known, 9,800 home and whole, 12 without outputs; nothing at risk` |
/// | some are lost | `9,812 jobs known, 9,810 home and whole, 2 gone; nothing at risk` |
/// | some are not home | `9,812 jobs known, 9,700 home and whole; 112 not home` |
/// | nobody knows of any | `no job is known; nothing at risk` |
#[must_use]
pub fn sentence(judged: &Judged) -> String {
    if judged.known == 0 {
        return "no job is known; nothing at risk".into();
    }
    let mut text = format!("{} known, {} home and whole", counted(judged.known, "job"), number(judged.whole));
    for (count, word) in [(judged.fruitless, "without outputs"), (judged.gone, "gone")] {
        if count > 0 {
            text.extend([", ", &number(count), " ", word]);
        }
    }
    match judged.at_risk() {
        0 => text.push_str("; nothing at risk"),
        left => text.extend(["; ", &number(left), " not home"]),
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::closure::{Closure, Stands};
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use crate::lifetime::Lifetimes;

    fn said(stands: &[(Stands, usize)]) -> String {
        let defaults = Defaults::new(DEFAULT_ORIGIN, None).unwrap();
        let (mut closure, mut id) = (Closure::default(), 0);
        for (stands, count) in stands {
            for _ in 0..*count {
                id += 1;
                closure.record(&defaults.parse(&id.to_string()).unwrap().job, *stands, 1, None);
            }
        }
        sentence(&closure.judge(&Lifetimes::default(), 0))
    }

    #[test]
    fn an_audit_ends_in_one_sentence() {
        let table: [(&[(Stands, usize)], &str); 6] = [
            (&[(Stands::Whole, 9_812)], "9,812 jobs known, 9,812 home and whole; nothing at risk"),
            (
                &[(Stands::Whole, 3), (Stands::Fruitless, 1)],
                "4 jobs known, 3 home and whole, 1 without outputs; nothing at risk",
            ),
            (
                &[(Stands::Whole, 3), (Stands::Gone, 2)],
                "5 jobs known, 3 home and whole, 2 gone; nothing at risk",
            ),
            (
                &[(Stands::Whole, 3), (Stands::Lacking, 1_200)],
                "1,203 jobs known, 3 home and whole; 1,200 not home",
            ),
            (&[(Stands::Whole, 1)], "1 job known, 1 home and whole; nothing at risk"),
            (&[], "no job is known; nothing at risk"),
        ];
        for (stands, want) in table {
            assert_eq!(said(stands), want);
        }
    }
}
