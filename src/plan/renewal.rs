//! Whether a job's record gives way to a new one.

/// What came of a job's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// At least one file.
    Something,
    /// No file, though each output was tried to its end.
    Nothing,
    /// No file, and a stop or this machine's failure came between.
    CutShort,
}

/// What a new record would be beside the one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the table")]
pub struct Renewal {
    /// What came.
    pub came: Came,
    /// Whether there was a record, now damaged or lost, that may have named more than is known.
    pub was_lost: bool,
    /// Whether the job is being mended.
    pub mends: bool,
    /// Whether the new record has every output.
    pub is_complete: bool,
    /// Whether it names any file.
    pub names_files: bool,
    /// Whether some output that it lacks may come yet.
    pub may_come: bool,
    /// Whether files are here that serve no output of the answer, or that stay since nothing came in their place.
    pub keeps_files: bool,
}

/// Whether the record that is there stays as it is. One that was lost is made anew as a whole, or what it may have named
/// would give way to less; and where nothing came the new one has to say more and give nothing up.
///
/// The first row that holds decides:
///
/// | the job | came | the new record | |
/// | --- | --- | --- | --- |
/// | is mended, its record was lost | | is not complete | stays |
/// | | something | | gives way |
/// | | nothing, cut short | | stays |
/// | | nothing | leaves files where they are | stays |
/// | its record was lost | nothing | | stays |
/// | is mended | nothing | lacks what may come yet | stays |
/// | | nothing | names no file, and lacks what may come yet | stays |
/// | | nothing | is another one | gives way |
#[must_use]
pub fn stays(new: &Renewal) -> bool {
    match new.came {
        _ if new.mends && new.was_lost && !new.is_complete => true,
        Came::Something => false,
        Came::CutShort => true,
        Came::Nothing => new.keeps_files || new.was_lost || new.may_come && (new.mends || !new.names_files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_way_to_one_that_says_more_and_gives_nothing_up() {
        let new = Renewal {
            came: Came::Nothing,
            was_lost: false,
            mends: false,
            is_complete: false,
            names_files: false,
            may_come: false,
            keeps_files: false,
        };
        let something = Renewal { came: Came::Something, ..new };
        let table = [
            (Renewal { mends: true, was_lost: true, ..something }, true),
            (Renewal { mends: true, was_lost: true, is_complete: true, ..something }, false),
            (Renewal { was_lost: true, may_come: true, keeps_files: true, ..something }, false),
            (Renewal { mends: true, may_come: true, ..something }, false),
            (Renewal { came: Came::CutShort, is_complete: true, names_files: true, ..new }, true),
            (Renewal { keeps_files: true, is_complete: true, ..new }, true),
            (Renewal { was_lost: true, is_complete: true, ..new }, true),
            (Renewal { mends: true, may_come: true, names_files: true, ..new }, true),
            (Renewal { mends: true, ..new }, false),
            (Renewal { may_come: true, ..new }, true),
            (Renewal { may_come: true, names_files: true, ..new }, false),
            (new, false),
        ];
        for (new, want) in table {
            assert_eq!(stays(&new), want, "{new:?}");
        }
    }
}
