//! Where JSON that spans lines ends: its brackets are counted, so that it is parsed once and not after each line.

/// Whether JSON that begins with the first line has come to its end.
#[derive(Debug, Default)]
pub struct Nesting {
    begun: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    /// Takes the next line in. Where the first one begins no JSON it counts for nothing.
    pub fn read(&mut self, line: &str) {
        if !std::mem::replace(&mut self.begun, true)
            && !line.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '['])
        {
            return;
        }
        for byte in line.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                // A comment, as lists have them; in JSON it stands in texts only.
                b'#' if !self.in_text => break,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// How many brackets are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Whether more lines belong to it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.depth > 0
    }

    /// Whether a line ended within a text, which no line of JSON does.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.in_text
    }
}

/// Whether nothing but a comment, to the end of the line, stands behind JSON.
#[must_use]
pub fn is_over(behind: &str) -> bool {
    let behind = behind.trim();
    behind.is_empty() || behind.starts_with('#') && !behind.contains('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_outside_of_texts_only() {
        let table: [(&[&str], usize, bool); 12] = [
            (&["{\"id\": 1}"], 0, false),
            (&["[", "{\"id\":", "7"], 2, false),
            (&["\u{feff} [{", "\"a\": \"]}\"", "}]"], 0, false),
            (&[r#"["\"]", "\\"]"#], 0, false),
            (&["{\"message\": \"cut"], 1, true),
            (&["147 [", "{"], 1, false),
            (&["]}{"], 0, false),
            (&["[\"[{\"]"], 0, false),
            (&["[{\"]\""], 2, false),
            (&["[\\]"], 0, false),
            (&["{\"id\": 1} # see [2", "[3"], 1, false),
            (&["[\"# [\"]"], 0, false),
        ];
        for (lines, depth, cut) in table {
            let mut nesting = Nesting::default();
            for line in lines {
                nesting.read(line);
            }
            assert_eq!(
                (nesting.depth(), nesting.is_open(), nesting.is_cut()),
                (depth, depth > 0, cut),
                "{lines:?}"
            );
        }
    }
}
