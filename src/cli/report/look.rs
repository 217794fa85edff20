//! Whether there are bars, and whether they have colour: decided once, from the terminal and the environment.

use std::io::IsTerminal;

use super::Progress;

/// How a run is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// How progress is shown.
    pub(super) shown: Shown,
    /// Whether text may be coloured.
    pub(super) color: bool,
    /// Whether the terminal can be expected to have more than ASCII.
    pub(super) unicode: bool,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Bars.
    Bars,
    /// A line every 10 s.
    Plain,
    /// JSON lines.
    Json,
    /// Nothing.
    Nothing,
}

/// What the environment says about the terminal; unset and empty are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Terminal {
    pub(super) tty: bool,
    pub(super) term: String,
    pub(super) no_color: String,
    pub(super) clicolor: String,
    pub(super) clicolor_force: String,
    pub(super) locale: String,
}

impl Terminal {
    /// The terminal at standard error.
    #[expect(
        clippy::disallowed_methods,
        reason = "conventions between terminals and programs, not settings of this one"
    )]
    pub(super) fn of_stderr() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(variable).into_iter().find(|name| !name.is_empty());
        Self {
            tty: std::io::stderr().is_terminal(),
            term: variable("TERM"),
            no_color: variable("NO_COLOR"),
            clicolor: variable("CLICOLOR"),
            clicolor_force: variable("CLICOLOR_FORCE"),
            locale: locale.unwrap_or_default(),
        }
    }
}

/// How a run looks on this terminal.
///
/// | asked for | terminal | `TERM` | shown |
/// | --- | --- | --- | --- |
/// | anything, and quiet | | | nothing |
/// | auto | yes | usual | bars |
/// | auto | yes | `dumb` or unset | plain lines |
/// | auto | no | | plain lines |
/// | bar, plain, json, none | | | that |
///
/// Colour: never with `NO_COLOR`; always with `CLICOLOR_FORCE` other than 0; else on a terminal that is not dumb, unless
/// `CLICOLOR` is 0.
pub(super) fn look(progress: Progress, quiet: bool, terminal: &Terminal) -> Look {
    let able = terminal.tty && !matches!(terminal.term.as_str(), "" | "dumb");
    let shown = match progress {
        _ if quiet => Shown::Nothing,
        Progress::Auto if able => Shown::Bars,
        Progress::Auto | Progress::Plain => Shown::Plain,
        Progress::Bar => Shown::Bars,
        Progress::Json => Shown::Json,
        Progress::None => Shown::Nothing,
    };
    let forced = !matches!(terminal.clicolor_force.as_str(), "" | "0");
    let color = terminal.no_color.is_empty() && (forced || (able && terminal.clicolor != "0"));
    let locale = terminal.locale.to_ascii_lowercase();
    Look { shown, color, unicode: locale.contains("utf-8") || locale.contains("utf8") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(term: &str) -> Terminal {
        Terminal { tty: true, term: term.into(), ..Terminal::default() }
    }

    #[test]
    fn bars_need_a_terminal_that_can_draw_them_or_a_user_who_insists() {
        let (usual, dumb, none) = (terminal("xterm-256color"), terminal("dumb"), Terminal::default());
        let table = [
            (Progress::Auto, false, &usual, Shown::Bars),
            (Progress::Auto, false, &dumb, Shown::Plain),
            (Progress::Auto, false, &terminal(""), Shown::Plain),
            (Progress::Auto, false, &none, Shown::Plain),
            (Progress::Bar, false, &none, Shown::Bars),
            (Progress::Plain, false, &usual, Shown::Plain),
            (Progress::Json, false, &usual, Shown::Json),
            (Progress::None, false, &usual, Shown::Nothing),
            (Progress::Bar, true, &usual, Shown::Nothing),
            (Progress::Auto, true, &none, Shown::Nothing),
        ];
        for (progress, quiet, terminal, want) in table {
            assert_eq!(look(progress, quiet, terminal).shown, want, "{progress:?} {terminal:?}");
        }
    }

    #[test]
    fn colour_follows_the_conventions() {
        let set = |no_color: &str, clicolor: &str, force: &str, base: Terminal| Terminal {
            no_color: no_color.into(),
            clicolor: clicolor.into(),
            clicolor_force: force.into(),
            ..base
        };
        let usual = || terminal("xterm");
        let table = [
            (usual(), true),
            (set("1", "", "", usual()), false),
            (set("1", "", "1", usual()), false),
            (set("", "0", "", usual()), false),
            (set("", "0", "1", usual()), true),
            (set("", "", "0", usual()), true),
            (terminal("dumb"), false),
            (Terminal::default(), false),
            (set("", "", "1", Terminal::default()), true),
        ];
        for (terminal, want) in table {
            assert_eq!(look(Progress::Auto, false, &terminal).color, want, "{terminal:?}");
        }
    }

    #[test]
    fn more_than_ascii_needs_a_locale_that_says_so() {
        for (locale, want) in [("en_GB.UTF-8", true), ("C.utf8", true), ("C", false), ("", false)] {
            let terminal = Terminal { locale: locale.into(), ..terminal("xterm") };
            assert_eq!(look(Progress::Auto, false, &terminal).unicode, want, "{locale}");
        }
    }
}
