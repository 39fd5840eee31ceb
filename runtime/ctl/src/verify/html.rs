// SPDX-License-Identifier: Apache-2.0
//! HTML without surprises: text goes in through [`Html::text`] alone, which escapes it.

use super::text::is_bidirectional;

/// A growing page.
#[derive(Debug, Default)]
pub(crate) struct Html(String);

impl Html {
    /// Mark-up of this program's own.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text from anywhere, escaped for contents and quoted attributes alike.
    ///
    /// E19: a certificate's name is data and adds no mark-up to the page.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c if c.is_control() || is_bidirectional(c) => self.0.extend(c.escape_unicode()),
                c => self.0.push(c),
            }
        }
        self
    }

    /// The page.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_adds_no_markup() {
        let mut html = Html::default();
        html.raw("<p>").text("<script>alert('1' & \"2\")</script>\u{0}\u{202e}").raw("</p>");
        assert_eq!(
            html.finish(),
            "<p>&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;\\u{0}\\u{202e}</p>"
        );
    }
}
