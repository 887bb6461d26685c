//! Syntax of names.

/// Whether `name` is kebab-case: words of a-z and 0-9, the first beginning with a letter, joined
/// by single hyphens.
pub(super) fn is_kebab(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::is_kebab;

    #[test]
    fn only_lower_case_words_joined_by_single_hyphens_are_names() {
        for good in ["a", "ip4-lookup", "l2tp", "a-1-b"] {
            assert!(is_kebab(good), "{good:?}");
        }
        for bad in ["", "-", "a-", "-a", "a--b", "A", "a_b", "4ip", "a b", "é", "a/b", "a\n"] {
            assert!(!is_kebab(bad), "{bad:?}");
        }
    }
}
