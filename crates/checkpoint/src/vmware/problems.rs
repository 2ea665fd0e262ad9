//! A list of problems that a hostile file cannot make long.

use vmss2core_mem::{Problem, Severity};

/// Problems of one severity that are listed.
const MAX_EACH: usize = 32;

/// Faults, in the order in which they were found.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    /// Severities of those that are not listed, and how many.
    unlisted: Vec<(Severity, usize)>,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        let severity = problem.severity;
        if self.listed.iter().filter(|p| p.severity == severity).count() < MAX_EACH {
            self.listed.push(problem);
            return;
        }
        match self.unlisted.iter_mut().find(|(s, _)| *s == severity) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.unlisted.push((severity, 1)),
        }
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }

    /// Those listed so far.
    #[cfg(test)]
    pub(super) fn listed(&self) -> &[Problem] {
        &self.listed
    }

    /// All, with a word about those that are not listed.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        self.listed.extend(self.unlisted.into_iter().map(|(severity, count)| Problem {
            severity,
            message: format!("{count} more problems of this kind are not listed"),
        }));
        self.listed
    }
}
