//! Text on its way into a page. Everything that is not written in this program goes through [`Html::text`].

use crate::status::plain;

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// Longer text is cut: a store may be anybody's.
const LONGEST: usize = 600;

impl Html {
    /// Markup, from this program alone.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of any origin: no markup, no control characters, and not endless.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let shown = plain(text);
        for (n, c) in shown.chars().enumerate() {
            if n == LONGEST {
                self.0.push('…');
                break;
            }
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // What changes the direction of text can make a name look like another.
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    self.0.push('\u{fffd}')
                }
                c => self.0.push(c),
            }
        }
        self
    }

    pub(super) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        self.0.push_str(&number.into().to_string());
        self
    }

    /// `<dt>name</dt><dd>value<small>more</small></dd>`.
    pub(super) fn fact(&mut self, name: &str, value: &str, more: &str) {
        self.markup("<div><dt>").text(name).markup("</dt><dd>").text(value);
        if !more.is_empty() {
            self.markup("<small>").text(more).markup("</small>");
        }
        self.markup("</dd></div>");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_store_is_markup() {
        let mut html = Html::default();
        html.text("<script>alert('x')</script>&\"\u{202e}\u{1b}[31m\n");
        assert_eq!(
            html.finish(),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}\\u{1b}[31m\\n"
        );
        let mut html = Html::default();
        html.text(&"<".repeat(1_000_000));
        assert!(html.finish().len() < 4000);
    }
}
