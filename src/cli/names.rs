//! How jobs are called where another command reads it: lists for `get -i`, and lines of commands that look.
//!
//! A bare id stands for a job of the family that is the default where it is read. So it is written only where that is the
//! built-in one both here and in the environment, which whoever reads it is likely to share.

use vfetch::job::{DEFAULT_FAMILY, DEFAULT_ORIGIN, Defaults, JobRef};

/// How the jobs of a run are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    bare: bool,
}

impl Names {
    /// For a command that says nothing of families itself.
    pub(crate) fn here() -> Self {
        Self { bare: environment().is_none_or(|defaults| has_built_in_family(&defaults)) }
    }

    /// For a command whose own bare ids stand for this.
    pub(crate) fn beside(defaults: &Defaults) -> Self {
        Self { bare: Self::here().bare && has_built_in_family(defaults) }
    }

    /// The job as a reference.
    pub(crate) fn reference(self, job: &JobRef) -> String {
        if self.bare { job.to_string() } else { format!("{}/{}", job.family.name(), job.id.as_str()) }
    }
}

/// What a bare id stands for where no option says so; `None` where the environment cannot mean it.
#[expect(clippy::disallowed_methods, reason = "what the next command line will read")]
pub(crate) fn environment() -> Option<Defaults> {
    let set = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let origin = set("MODELSLAB_BASE_URL").unwrap_or_else(|| DEFAULT_ORIGIN.into());
    Defaults::new(&origin, set("VFETCH_FAMILY").as_deref()).ok()
}

/// Whether bare ids stand for jobs of the family that they stand for where nobody says so.
pub(crate) fn has_built_in_family(defaults: &Defaults) -> bool {
    defaults.family.name() == DEFAULT_FAMILY
}
