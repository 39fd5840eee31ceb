// SPDX-License-Identifier: Apache-2.0
//! Matching for the patterns that policies are made of: names, numbers and addresses in ASCII.
//!
//! A position automaton (Glushkov, 1961) of at most 128 positions, each a set of ASCII characters, run
//! with one bit for each position: no step of it allocates, looks back or depends on more than the
//! pattern's size. It takes the part of the syntax that such patterns use; a pattern with anything
//! else has no automaton, and a text that is not ASCII no answer.
//!
//! # Security
//!
//! A9: it says of every text what the general engine says. The tests here hold it to that on random
//! patterns and texts, and with debug assertions every match of every program asks both.

use std::iter::Peekable;
use std::str::Chars;

/// The automaton of one pattern.
#[derive(Debug, Clone, Default)]
pub(super) struct Automaton {
    /// Which characters each position takes, one bit for each.
    classes: Vec<u128>,
    /// Which positions come after each.
    follow: Vec<u128>,
    whole: Part,
}

/// The positions of a part of the pattern at which it begins and ends.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    first: u128,
    last: u128,
    /// The empty text matches.
    nullable: bool,
}

impl Automaton {
    /// The automaton of a pattern that the engine accepts, if its syntax and size allow one.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let mut reader = Reader { rest: pattern.chars().peekable() };
        let node = reader.alternatives()?;
        if reader.rest.next().is_some() {
            return None;
        }
        let mut automaton = Self::default();
        automaton.whole = automaton.add(&node)?;
        Some(automaton)
    }

    /// Whether the whole text matches; `None` if it is not ASCII.
    pub(super) fn matches(&self, text: &str) -> Option<bool> {
        if !text.is_ascii() {
            return None;
        }
        if text.is_empty() {
            return Some(self.whole.nullable);
        }
        let mut expected = self.whole.first;
        let mut reached = 0;
        for byte in text.bytes() {
            let mut next = 0;
            reached = 0;
            for (position, bit) in positions(expected) {
                if self.classes.get(position).is_some_and(|class| class >> byte & 1 == 1) {
                    reached |= bit;
                    next |= self.follow.get(position).copied().unwrap_or_default();
                }
            }
            if reached == 0 {
                return Some(false);
            }
            expected = next;
        }
        Some(reached & self.whole.last != 0)
    }

    /// One of the shortest texts that match.
    pub(super) fn shortest(&self) -> Option<String> {
        if self.whole.nullable {
            return Some(String::new());
        }
        // By length: each position once, with the text that leads to it.
        let mut seen = self.whole.first;
        let mut reached: Vec<(usize, u128, String)> =
            positions(seen).map(|(position, bit)| (position, bit, String::new())).collect();
        while !reached.is_empty() {
            let mut further = Vec::new();
            for (position, bit, mut text) in reached {
                let class = self.classes.get(position)?;
                let Some(byte) = PLAINEST.iter().find(|byte| class >> **byte & 1 == 1) else {
                    continue;
                };
                text.push(char::from(*byte));
                if bit & self.whole.last != 0 {
                    return Some(text);
                }
                let fresh = self.follow.get(position)? & !seen;
                seen |= fresh;
                further.extend(positions(fresh).map(|(at, bit)| (at, bit, text.clone())));
            }
            reached = further;
        }
        None
    }

    fn add(&mut self, node: &Node) -> Option<Part> {
        match node {
            Node::Class(class) => {
                let position = u32::try_from(self.classes.len()).ok()?;
                let bit = 1_u128.checked_shl(position)?;
                self.classes.push(*class);
                self.follow.push(0);
                Some(Part { first: bit, last: bit, nullable: false })
            }
            Node::Sequence(nodes) => {
                let mut whole = Part { nullable: true, ..Part::default() };
                for node in nodes {
                    let part = self.add(node)?;
                    whole = self.join(whole, part);
                }
                Some(whole)
            }
            Node::OneOf(nodes) => {
                let mut whole = Part::default();
                for node in nodes {
                    let part = self.add(node)?;
                    whole.first |= part.first;
                    whole.last |= part.last;
                    whole.nullable |= part.nullable;
                }
                Some(whole)
            }
            Node::Repeat { node, least, most } => self.repeat(node, *least, *most),
        }
    }

    /// `x{2,4}` is `xx(x(x)?)?`, which has one way to go on from each position where `xxx?x?` has many;
    /// `x{2,}` is `xxx*`.
    fn repeat(&mut self, node: &Node, least: u32, most: Option<u32>) -> Option<Part> {
        let mut whole = Part { nullable: true, ..Part::default() };
        // Where it may end: behind as many as it must have, and behind each one more.
        let mut ends = Part { nullable: least == 0, ..Part::default() };
        for number in 1..=most.unwrap_or(least.checked_add(1)?) {
            let part = self.add(node)?;
            if most.is_none() && number > least {
                self.connect(part.last, part.first);
            }
            whole = self.join(whole, part);
            if number >= least {
                ends.last |= whole.last;
                ends.nullable |= whole.nullable;
            }
        }
        Some(Part { first: whole.first, ..ends })
    }

    fn join(&mut self, before: Part, after: Part) -> Part {
        self.connect(before.last, after.first);
        Part {
            first: before.first | if before.nullable { after.first } else { 0 },
            last: after.last | if after.nullable { before.last } else { 0 },
            nullable: before.nullable && after.nullable,
        }
    }

    fn connect(&mut self, from: u128, to: u128) {
        for (position, _) in positions(from) {
            if let Some(follow) = self.follow.get_mut(position) {
                *follow |= to;
            }
        }
    }
}

/// The positions of a set, each with its bit.
fn positions(mut set: u128) -> impl Iterator<Item = (usize, u128)> {
    std::iter::from_fn(move || {
        let position = usize::try_from(set.trailing_zeros()).ok()?;
        let bit = set & set.wrapping_neg();
        set ^= bit;
        (bit != 0).then_some((position, bit))
    })
}

/// A part of a pattern.
enum Node {
    Class(u128),
    Sequence(Vec<Node>),
    OneOf(Vec<Node>),
    Repeat { node: Box<Node>, least: u32, most: Option<u32> },
}

/// Reads a pattern that the engine has read before; what it does not know ends in `None`.
struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn alternatives(&mut self) -> Option<Node> {
        let mut nodes = vec![self.sequence()?];
        while self.rest.next_if_eq(&'|').is_some() {
            nodes.push(self.sequence()?);
        }
        Some(Node::OneOf(nodes))
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        while self.rest.peek().is_some_and(|c| !matches!(c, '|' | ')')) {
            let atom = self.atom()?;
            nodes.push(self.repeated(atom)?);
        }
        Some(Node::Sequence(nodes))
    }

    fn atom(&mut self) -> Option<Node> {
        match self.rest.next()? {
            '(' => {
                if self.rest.next_if_eq(&'?').is_some() && self.rest.next()? != ':' {
                    return None;
                }
                let node = self.alternatives()?;
                (self.rest.next()? == ')').then_some(node)
            }
            '[' => self.class().map(Node::Class),
            '\\' => self.escaped().map(|c| Node::Class(bit(c))),
            '.' => Some(Node::Class(!bit('\n'))),
            '^' | '$' | '*' | '+' | '?' | '{' => None,
            c => c.is_ascii().then(|| Node::Class(bit(c))),
        }
    }

    /// Behind a backslash: punctuation, which stands for itself there.
    fn escaped(&mut self) -> Option<char> {
        // `\<` and `\>` are borders of words.
        self.rest.next().filter(|c| c.is_ascii_punctuation() && !matches!(c, '<' | '>'))
    }

    fn class(&mut self) -> Option<u128> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut class = 0;
        loop {
            let from = match self.rest.next()? {
                ']' if class != 0 => break,
                // A bracket as the first item, a class in a class, operators on classes.
                ']' | '[' | '&' | '~' => return None,
                '-' if class != 0 && self.rest.peek() != Some(&']') => return None,
                '\\' => self.escaped()?,
                c => c,
            };
            let to = if from != '-' && self.rest.next_if_eq(&'-').is_some() {
                match self.rest.next()? {
                    // A dash as the last item.
                    ']' => {
                        class |= ascii(from, from)? | bit('-');
                        break;
                    }
                    '[' | '-' => return None,
                    '\\' => self.escaped()?,
                    c => c,
                }
            } else {
                from
            };
            class |= ascii(from, to)?;
        }
        Some(if negated { !class } else { class })
    }

    fn repeated(&mut self, atom: Node) -> Option<Node> {
        let mut node = atom;
        loop {
            let (least, most) = match self.rest.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.rest.next();
                    let least = self.number()?;
                    let most = match self.rest.next_if_eq(&',') {
                        None => Some(least),
                        Some(_) if self.rest.peek() == Some(&'}') => None,
                        Some(_) => Some(self.number()?),
                    };
                    (least, most)
                }
                _ => return Some(node),
            };
            // The sign itself, or the brace at its end.
            self.rest.next().filter(|c| matches!(c, '*' | '+' | '?' | '}'))?;
            // Greedy or not, the whole text matches or does not.
            self.rest.next_if_eq(&'?');
            node = Node::Repeat { node: Box::new(node), least, most };
        }
    }

    fn number(&mut self) -> Option<u32> {
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits.parse().ok()
    }
}

fn ascii(from: char, to: char) -> Option<u128> {
    (to.is_ascii() && from <= to).then(|| (from..=to).fold(0, |class, c| class | bit(c)))
}

/// The characters of an example, those first that need no quotes.
const PLAINEST: &[u8] =
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,~ !#$&'()*;<>?[]^`{|}\"\\";

fn bit(c: char) -> u128 {
    1_u128.checked_shl(u32::from(c)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(pattern: &str) -> Option<regex_lite::Regex> {
        regex_lite::Regex::new(pattern).ok()?;
        regex_lite::Regex::new(&format!(r"\A(?:{pattern})\z")).ok()
    }

    fn check(pattern: &str, text: &str) {
        let (Some(engine), Some(automaton)) = (whole(pattern), Automaton::new(pattern)) else {
            return;
        };
        let expected = text.is_ascii().then(|| engine.is_match(text));
        assert_eq!(automaton.matches(text), expected, "{pattern} {text:?}");
    }

    #[test]
    fn patterns_of_names_and_numbers_have_one() {
        for pattern in [
            "KUBERNETES_(SERVICE_HOST|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_ADDR)",
            "[A-Z_][A-Z0-9_]*_(SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]{1,5}_(TCP|UDP|SCTP)_PORT)",
            r"(tcp|udp|sctp)://\[?[0-9a-f.:]{2,45}\]?:[0-9]{1,5}",
            "[a-z0-9-]+",
            "web-[0-9]+",
            "a|b",
        ] {
            let found = Automaton::new(pattern).and_then(|automaton| automaton.matches("\t"));
            assert_eq!(found, Some(false), "{pattern}");
        }
    }

    #[test]
    fn other_syntax_has_none() {
        for pattern in [
            "^a",
            "a$",
            r"\d",
            r"\bx",
            r"\<x",
            "(?i)a",
            "(?P<n>a)",
            "é",
            "[é]",
            "[a-é]",
            "[[:alpha:]]",
            "[a&&b]",
            "[]a]",
            "[^]a]",
            r"[\d]",
            "a{0,129}",
            r"\x41",
            "[a-z]{100}[a-z]{29}",
        ] {
            assert!(Automaton::new(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn says_what_the_engine_says() {
        for pattern in [
            "",
            "a",
            "a*",
            "(a|b)*c",
            "(a*)*b",
            "(a|)b",
            "(|a)+",
            "a{2}",
            "a{2,}",
            "a{0}b",
            "a{0,2}b?",
            "(ab){1,3}",
            "(a?b?){2}",
            "[a-c]",
            "[^a]",
            "[a-]",
            "[-a]",
            "[a-b-]",
            ".",
            ".*a",
            "a+?b",
            "a??",
            "(?:ab|a)(?:c|bc)",
            r"\.",
            r"a\+b",
            "[.]",
            "a**",
            "(a+b)*",
            "((a|b)(c|))+",
        ] {
            for text in [
                "", "a", "b", "c", "-", ".", "\n", "é", "aé", "ab", "ba", "abc", "aab", "aaa",
                "abab", "acb", "abcbc", "a+b", "bb", "aabb", "ababab", "abababab", "a-", "cc",
            ] {
                check(pattern, text);
            }
        }
    }

    proptest! {
        #[test]
        fn says_what_the_engine_says_of_any_pattern(
            pattern in r"([abc.]|\[[\^]?[abc-]{1,3}\]|\(|\)|\||\*|\+|\?|\{[0-3],?[0-3]?\}|\\[.+]){0,12}",
            texts in prop::collection::vec("[abc.+\n-]{0,6}", 20),
        ) {
            for text in &texts {
                check(&pattern, text);
            }
        }

        /// Every sign of the syntax, most of them where they do not belong.
        #[test]
        fn says_what_the_engine_says_of_any_text_that_is_a_pattern(
            pattern in r"[a-c&~^$()|*+?{}0-3,.:<>PixsUd\[\]\\-]{0,9}",
            texts in prop::collection::vec(r"[a-c&~^(|+?{}0-3,.:<>Pd\]\\\n-]{0,4}", 30),
        ) {
            for text in &texts {
                check(&pattern, text);
            }
        }

        #[test]
        fn the_shortest_text_matches(
            pattern in r"([abc.]|\[[\^]?[abc-]{1,3}\]|\(|\)|\||\*|\+|\?|\{[0-3],?[0-3]?\}|\\[.+]){0,12}",
            texts in prop::collection::vec("[abc.+-]{0,6}", 20),
        ) {
            let (Some(engine), Some(automaton)) = (whole(&pattern), Automaton::new(&pattern)) else {
                return Ok(());
            };
            let shortest = automaton.shortest();
            prop_assert!(shortest.as_ref().is_none_or(|text| engine.is_match(text)));
            for text in texts.iter().filter(|text| engine.is_match(text)) {
                prop_assert!(shortest.as_ref().is_some_and(|shortest| shortest.len() <= text.len()));
            }
        }

        #[test]
        fn never_panics(pattern in ".{0,30}", text in ".{0,10}") {
            check(&pattern, &text);
        }
    }
}
