//! Numbers whose grouping is free: payment cards, phone numbers, IBAN (output policy spec §16.3).

use crate::bytes::{follows_escape, follows_sign, is, is_at, is_before, slice, ALNUM, DIGIT, SPACE};
use crate::catalogue::detector;
use crate::check::digits::{all_equal, luhn, part, Digits};
use crate::check::iban::{is_iban_as_written, length_for};
use crate::definition::Verdict;
use crate::scan::block::{Block, Weight};
use crate::scan::sweep::DigitGroup;

/// Characters an IBAN may have with its blanks.
const MAX_IBAN: usize = 34 + 9;
/// Country codes of three digits, by their first two; the others have one or two.
const LONG_CODES: &[u64] = &[
    21, 22, 23, 24, 25, 26, 29, 35, 37, 38, 42, 50, 59, 67, 68, 69, 80, 85, 87, 88, 96, 97, 99,
];

impl Block<'_> {
    /// Cards, phones and IBANs among groups of digits.
    pub(crate) fn free_numbers(&mut self, groups: &[DigitGroup]) {
        let total: usize = groups.iter().map(|group| group.length).sum();
        if total >= 12 {
            self.cards(groups);
        }
        if total >= 7 {
            self.phones(groups);
        }
        if let Some(first) = groups.first() {
            self.iban_around(first.start);
        }
    }

    fn digits(&self, groups: &[DigitGroup]) -> Digits {
        self.first_digits(groups, usize::MAX)
    }

    /// At most `limit` digits of the groups.
    fn first_digits(&self, groups: &[DigitGroup], limit: usize) -> Digits {
        let mut digits = Digits::new();
        for group in groups {
            let left = limit.saturating_sub(digits.len()).min(group.length);
            let text = slice(self.content, group.start, group.start.saturating_add(left));
            for byte in text {
                digits.push(u32::from(byte.wrapping_sub(b'0')));
            }
            if digits.len() >= limit {
                break;
            }
        }
        digits
    }

    fn cards(&mut self, groups: &[DigitGroup]) {
        if self.wanted(detector!("credit_card")).is_none() {
            return;
        }
        let mut first = 0usize;
        while let Some(group) = groups.get(first) {
            // No card begins with fewer digits.
            if group.length < 3 {
                first = first.saturating_add(1);
                continue;
            }
            let tail = groups.get(first..).unwrap_or_default();
            // One group, or several of three digits and more with one separator.
            let joins = |other: &&DigitGroup| {
                other.length >= 3
                    && other.separator == group.separator
                    && matches!(other.separator, b' ' | b'-')
            };
            let most = tail.iter().take_while(joins).count().saturating_add(1);
            let found = (1..=most.min(tail.len()).min(8)).find(|count| self.is_card(tail, *count, first > 0));
            match found {
                Some(count) => {
                    let end = tail.get(count.saturating_sub(1)).map_or(0, DigitGroup::end);
                    self.report(detector!("credit_card"), group.start..end, Verdict::Accept);
                    first = first.saturating_add(count);
                }
                None => first = first.saturating_add(1),
            }
        }
    }

    /// Whether the first `count` groups make a card number.
    fn is_card(&self, groups: &[DigitGroup], count: usize, is_inner: bool) -> bool {
        let taken = groups.get(..count).unwrap_or_default();
        let length: usize = taken.iter().map(|group| group.length).sum();
        if !(13..=19).contains(&length) {
            return false;
        }
        let (Some(first), Some(last)) = (taken.first(), taken.last()) else {
            return false;
        };
        let inner = taken.get(..count.saturating_sub(1)).unwrap_or_default();
        let kind = first.separator;
        let is_grouped = inner
            .iter()
            .all(|group| group.separator == kind && matches!(kind, b' ' | b'-') && group.length >= 3);
        // Groups of four before or behind make it a piece of a table.
        let next = groups.get(count).map_or(0, |group| group.length);
        if count > 1 && last.separator == kind && next == 4 {
            return false;
        }
        let joins =
            |separator: u8| matches!(separator, b'-' | b'.' | b'/') && count == 1 || separator == b'.';
        let before = self
            .content
            .get(first.start.saturating_sub(1))
            .copied()
            .unwrap_or(b' ');
        if !is_grouped
            || joins(last.separator)
            || is_inner && count == 1 && matches!(before, b'-' | b'.' | b'/')
        {
            return false;
        }
        let digits = self.digits(taken);
        luhn(&digits)
            && has_issuer(&digits)
            && self.stands_alone_in(first.start, last)
            && !(count == 1 && length >= 17 && self.is_in_column(first.start, last.end()))
    }

    /// Whether a number in a list or a column has a longer or shorter one beside it: those are words of a machine.
    fn is_in_column(&self, start: usize, end: usize) -> bool {
        let length = end.saturating_sub(start);
        // In JSON the end of a line is written `\n`.
        let is_gap = |byte: &u8| is(*byte, SPACE) || matches!(byte, b',' | b'\\' | b'n');
        let is_other = |digits: usize| digits >= 15 && digits != length;
        let before = slice(self.content, start.saturating_sub(64), start);
        let gap = before.iter().rev().take_while(|byte| is_gap(byte)).count();
        let left = before
            .iter()
            .rev()
            .skip(gap)
            .take_while(|byte| is(**byte, DIGIT))
            .count();
        let after = slice(self.content, end, end.saturating_add(64));
        let gap_after = after.iter().take_while(|byte| is_gap(byte)).count();
        let right = after
            .iter()
            .skip(gap_after)
            .take_while(|byte| is(**byte, DIGIT))
            .count();
        gap > 0 && is_other(left) || gap_after > 0 && is_other(right)
    }

    fn stands_alone_in(&self, start: usize, last: &DigitGroup) -> bool {
        if last.separator == 0 {
            return self.stands_alone(start, last.end());
        }
        // The next group is another number of the same row.
        !is_before(self.content, start, ALNUM)
    }

    fn phones(&mut self, groups: &[DigitGroup]) {
        if self.wanted(detector!("phone_number")).is_none() {
            return;
        }
        let mut first = 0usize;
        while first < groups.len() {
            let tail = groups.get(first..).unwrap_or_default();
            let count = self.phone(tail, first > 0);
            first = first.saturating_add(count.max(1));
        }
    }

    /// Reports the phone number that begins with the first group; answers how many groups it took.
    fn phone(&mut self, groups: &[DigitGroup], is_inner: bool) -> usize {
        let Some(first) = groups.first().copied() else {
            return 0;
        };
        let before = slice(self.content, first.start.saturating_sub(3), first.start);
        let second = groups.get(1).map_or(0, |group| group.length);
        // Without a `+` only some lengths begin a number.
        let is_likely = matches!(
            (first.length, second),
            (1, 3) | (2, 2 | 4 | 5 | 8) | (3..=5 | 10 | 11, _)
        );
        if !is_likely && !matches!(before.last(), Some(b'+' | b'(')) {
            debug_assert!(self.national(groups, first.start).is_none());
            return 0;
        }
        let (plus, start) = match before {
            [.., b'+'] => (true, first.start.saturating_sub(1)),
            [.., b'+', b'('] => (true, first.start.saturating_sub(2)),
            [.., b'('] => (false, first.start.saturating_sub(1)),
            _ => (false, first.start),
        };
        let is_signed = plus && follows_sign(self.content, start.saturating_add(1));
        let found = if is_signed && self.is_other_number(groups) {
            None
        } else if is_signed {
            self.international(groups)
                .or_else(|| self.national(groups, start.saturating_add(1)))
        } else if plus {
            self.international(groups)
        } else if is_inner && matches!(before.last(), Some(b'-' | b'.' | b'/')) {
            None
        } else {
            self.national(groups, start)
        };
        let Some((count, confidence)) = found else {
            return 0;
        };
        let end = groups.get(count.saturating_sub(1)).map_or(0, DigitGroup::end);
        let beside = start
            .checked_sub(1)
            .and_then(|at| self.content.get(at))
            .copied()
            .unwrap_or(b' ');
        let next = groups
            .get(count.saturating_sub(1))
            .map_or(0, |group| group.separator);
        let is_joined = is(beside, ALNUM) && !follows_escape(self.content, start)
            || matches!(beside, b'_' | b'.' | b'-' | b'/' | b'@' | b'#' | b'$')
                && !plus
                && !follows_sign(self.content, start)
            || matches!(next, b'.' | b'-' | b'/')
            || is_at(self.content, end, ALNUM)
            || matches!(self.content.get(end), Some(b'_' | b'@' | b'%' | b':'))
            || matches!(slice(self.content, end, end.saturating_add(2)), [b'-' | b'.' | b'/', next] if is(*next, ALNUM));
        if is_joined {
            return 0;
        }
        if let Some((id, definition)) = self.wanted(detector!("phone_number")) {
            let weight = Weight {
                needs_context: confidence < 0.5,
                ..Weight::of(confidence)
            };
            self.push(id, definition, start..end, Verdict::Accept, weight);
        }
        count
    }

    /// Behind the sign of an added line: digits of a card, and groups that no telephone has.
    fn is_other_number(&self, groups: &[DigitGroup]) -> bool {
        let lengths: Vec<usize> = groups.iter().take(4).map(|group| group.length).collect();
        let digits = self.first_digits(groups, 19);
        matches!(lengths.as_slice(), [3, 2, 4, ..] | [3, 3, 3, 2, ..])
            || lengths.first().is_some_and(|first| *first >= 13) && luhn(&digits) && has_issuer(&digits)
    }

    /// `+` and eight to fifteen digits of a known country code.
    fn international(&self, groups: &[DigitGroup]) -> Option<(usize, f32)> {
        const MOST: usize = 15;
        let digits = self.first_digits(groups, MOST);
        let mut length = 0usize;
        let mut best = None;
        for (place, group) in groups.iter().enumerate() {
            length = length.saturating_add(group.length);
            if length > MOST {
                break;
            }
            if digits.get(..length).is_some_and(is_international) {
                best = Some((place.saturating_add(1), 0.9));
            }
            if group.separator == b'/' {
                break;
            }
        }
        best
    }

    /// National forms: North America, Israel, United Kingdom, and others that start with 0.
    fn national(&self, groups: &[DigitGroup], start: usize) -> Option<(usize, f32)> {
        let (mut lengths, mut separators) = ([0usize; 5], [0u8; 5]);
        for ((length, separator), group) in lengths.iter_mut().zip(&mut separators).zip(groups) {
            (*length, *separator) = (group.length, group.separator);
        }
        let count = groups.len().min(5);
        let lengths = lengths.get(..count).unwrap_or_default();
        let separators = separators.get(..count).unwrap_or_default();
        let is_bracketed = self.content.get(start) == Some(&b'(');
        let nanp = |from: usize| {
            if lengths.get(from..from.saturating_add(3)) != Some(&[3, 3, 4][..]) {
                return false;
            }
            let digits = self.digits(groups.get(from..from.saturating_add(3)).unwrap_or_default());
            let is_code = |place: usize| digits.get(place).is_some_and(|digit| *digit >= 2);
            let inner = separators.get(from..from.saturating_add(2)).unwrap_or_default();
            let is_separated = matches!(inner, [b')' | b'-' | b'.' | b' ', b'-' | b'.' | b' ']);
            let is_even = matches!(inner, [first, second] if first == second || *first == b')');
            is_code(0) && is_code(3) && is_separated && is_even
        };
        if nanp(0) {
            let is_blank = !is_bracketed && separators.first() == Some(&b' ');
            return Some((3, if is_blank { 0.6 } else { 0.85 }));
        }
        if lengths.first() == Some(&1)
            && matches!(separators.first(), Some(b' ' | b'-' | b'.' | b'('))
            && nanp(1)
        {
            let one = self.digits(groups.get(..1).unwrap_or_default());
            return (one.as_slice() == [1]).then_some((4, 0.85));
        }
        self.leading_zero(groups, lengths, separators, is_bracketed)
    }

    fn leading_zero(
        &self,
        groups: &[DigitGroup],
        lengths: &[usize],
        separators: &[u8],
        is_bracketed: bool,
    ) -> Option<(usize, f32)> {
        // No form begins with other lengths.
        let is_dashed = separators.first() == Some(&b'-');
        let is_area = (is_bracketed || is_dashed) && matches!(lengths, [2, 4..=5, 4, ..]);
        if !is_area
            && !matches!(
                lengths,
                [3..=5 | 10 | 11, ..] | [2, 2, 2, 2, 2] | [2, 8, ..] | [1, 3, 3, 2, 2]
            )
        {
            return None;
        }
        let digits = self.first_digits(groups.get(..lengths.len()).unwrap_or_default(), 4);
        let joined = |count: usize| {
            let inner = separators.get(..count.saturating_sub(1)).unwrap_or_default();
            inner
                .iter()
                .all(|separator| matches!(separator, b' ' | b'-' | b'.' | b')'))
        };
        let lead = (part(&digits, 0, 2), digits.get(2).copied().unwrap_or(0));
        match (digits.first(), lengths) {
            // Israel: 05d-ddd-dddd, 05d-ddddddd.
            (Some(0), [3, 3, 4, ..]) if lead.0 == 5 && joined(3) => Some((3, 0.85)),
            (Some(0), [3, 7, ..]) if lead.0 == 5 && joined(2) => Some((2, 0.8)),
            // United Kingdom: 07ddd dddddd and 020 dddd dddd, 0dddd dddddd.
            (Some(0), [5, 6, ..]) if joined(2) && lead.0 <= 8 => {
                Some((2, if lead.0 == 7 { 0.85 } else { 0.6 }))
            }
            (Some(0), [5, 3, 3, ..]) if joined(3) && matches!(lead.0, 1 | 7) => Some((3, 0.85)),
            (Some(0), [4, 3, 4, ..]) if joined(3) && matches!(lead.0, 1 | 7) => Some((3, 0.8)),
            (Some(0), [3, 4, 4, ..]) if joined(3) && ((2..=9).contains(&lead.0) || lead == (1, 0)) => {
                Some((3, 0.7))
            }
            // Australia: 04dd ddd ddd, (0d) dddd dddd.
            (Some(0), [4, 3, 3, ..]) if joined(3) && lead.0 == 4 => Some((3, 0.7)),
            (Some(0), [2, 4, 4, ..]) if is_bracketed && joined(3) && matches!(lead.0, 2 | 3 | 7 | 8) => {
                Some((3, 0.8))
            }
            // Tokyo, Osaka, Seoul: 0d-dddd-dddd.
            (Some(0), [2, 4, 4, ..]) if separators.get(1) == Some(&b'-') && matches!(lead.0, 2 | 3 | 6) => {
                Some((3, 0.6))
            }
            // Brazil: (dd) 9dddd-dddd, (dd) dddd-dddd.
            (Some(1..=9), [2, 4..=5, 4, ..]) if is_bracketed && separators.get(1) == Some(&b'-') => {
                Some((3, 0.8))
            }
            // Russia: 8 (ddd) ddd-dd-dd.
            (Some(8), [1, 3, 3, 2, 2])
                if matches!(separators, [b'(' | b'-', b')' | b'-', b'-', b'-', ..]) =>
            {
                Some((5, 0.8))
            }
            // France: five pairs, no more: more are bytes.
            (Some(0), [2, 2, 2, 2, 2]) if joined(5) && lead.0 >= 1 && !self.has_more_pairs(groups) => {
                Some((5, 0.8))
            }
            // Germany: area code, stroke, number.
            (Some(0), [3..=5, 4..=8, ..]) if separators.first() == Some(&b'/') => Some((2, 0.3)),
            // British mobile telephones.
            (Some(0), [11, ..]) if lead.0 == 7 && matches!(lead.1, 1..=5 | 7..=9) => Some((1, 0.6)),
            // Bare numbers only in context.
            (Some(0), [10 | 11, ..]) if matches!(lead.0, 5 | 7 | 1 | 6) => Some((1, 0.3)),
            (Some(2..=9), [10, ..]) if digits.get(3).is_some_and(|digit| *digit >= 2) => Some((1, 0.3)),
            (Some(1), [11, ..]) => Some((1, 0.3)),
            (Some(5..=9), [3, 3, 3, ..] | [3, 2, 2, 2, ..]) if joined(3) => {
                Some((if lengths.get(1) == Some(&3) { 3 } else { 4 }, 0.3))
            }
            (Some(1), [3, 4, 4, ..]) if joined(3) => Some((3, 0.3)),
            (Some(6..=9), [5, 5, ..]) | (Some(0), [2, 8, ..] | [4, 6..=7, ..]) if joined(2) => Some((2, 0.3)),
            _ => None,
        }
    }

    /// Whether another pair of digits stands one blank before the groups, or behind the fifth.
    fn has_more_pairs(&self, groups: &[DigitGroup]) -> bool {
        let start = groups.first().map_or(0, |group| group.start);
        let before = slice(self.content, start.saturating_sub(4), start);
        let is_behind_pair = match before {
            [edge, a, b, b' '] => is(*a, DIGIT) && is(*b, DIGIT) && !is(*edge, ALNUM),
            [a, b, b' '] => is(*a, DIGIT) && is(*b, DIGIT),
            _ => false,
        };
        let is_before_pair = groups.get(4).is_some_and(|fifth| fifth.separator == b' ')
            && groups.get(5).is_some_and(|next| next.length == 2);
        is_behind_pair || is_before_pair
    }

    /// An IBAN that the digits at `at` belong to: country before them, or one block of letters further.
    pub(crate) fn iban_around(&mut self, at: usize) {
        if self.wanted(detector!("iban")).is_none() {
            return;
        }
        for back in [2usize, 10, 15] {
            let Some(start) = at.checked_sub(back) else { return };
            if let Some(end) = self.iban_at(start) {
                self.report(detector!("iban"), start..end, Verdict::Score(0.95));
                return;
            }
        }
    }

    /// End of the IBAN that begins at `start`.
    pub(crate) fn iban_at(&self, start: usize) -> Option<usize> {
        let window = slice(self.content, start, start.saturating_add(MAX_IBAN));
        let [a, b, c, d, ..] = window else { return None };
        let is_small = a.is_ascii_lowercase() && b.is_ascii_lowercase();
        let is_country = is_small || a.is_ascii_uppercase() && b.is_ascii_uppercase();
        let is_head = is_country && is(*c, DIGIT) && is(*d, DIGIT);
        if !is_head || is_before(self.content, start, ALNUM) && !follows_escape(self.content, start) {
            return None;
        }
        let length = length_for(&[a.to_ascii_uppercase(), b.to_ascii_uppercase()])?;
        let mut compact = Vec::with_capacity(length);
        let mut end = start;
        let mut is_separated = false;
        for byte in window {
            if is(*byte, ALNUM) {
                compact.push(*byte);
            } else if matches!(byte, b' ' | b'-') && !is_separated {
                is_separated = true;
                end = end.saturating_add(1);
                continue;
            } else {
                break;
            }
            is_separated = false;
            end = end.saturating_add(1);
            if compact.len() == length {
                break;
            }
        }
        (is_iban_as_written(&compact) && !is_at(self.content, end, ALNUM)).then_some(end)
    }
}

/// Issuer ranges and lengths of payment cards.
fn has_issuer(digits: &[u32]) -> bool {
    let lead = |count: usize| part(digits, 0, count);
    let length = digits.len();
    if all_equal(digits) {
        return false;
    }
    match (lead(1), lead(2), lead(3), lead(4)) {
        (4, ..) => matches!(length, 13 | 16 | 19),
        (_, 34 | 37, ..) => length == 15,
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) => length == 14,
        (_, 51..=55, ..) | (_, _, _, 2221..=2720) => length == 16,
        (_, 65, ..) | (_, _, 644..=649, _) | (_, _, _, 6011 | 3528..=3589) | (_, 62, ..) => {
            (16..=19).contains(&length)
        }
        _ => false,
    }
}

/// Plausible number of digits for the country.
fn is_international(digits: &[u32]) -> bool {
    let (one, two) = (part(digits, 0, 1), part(digits, 0, 2));
    let length = digits.len();
    if all_equal(digits.get(1..).unwrap_or_default()) {
        return false;
    }
    match one {
        0 => false,
        1 => {
            length == 11
                && digits.get(1).is_some_and(|digit| *digit >= 2)
                && digits.get(4).is_some_and(|digit| *digit >= 2)
        }
        7 => length == 11,
        _ => match two {
            20 | 27 | 30 | 31 | 32 | 33 | 34 | 41 | 43 | 45 | 46 | 47 | 48 | 51 | 53 | 56 | 61 | 64 | 65
            | 66 | 90 | 93 | 94 | 95 | 98 => (9..=13).contains(&length),
            36 | 39 | 40 | 44 | 49 | 52 | 54 | 55 | 57 | 58 | 60 | 62 | 63 | 81 | 82 | 84 | 86 | 91 | 92 => {
                (10..=14).contains(&length)
            }
            two if LONG_CODES.contains(&two) => (9..=15).contains(&length),
            _ => false,
        },
    }
}
