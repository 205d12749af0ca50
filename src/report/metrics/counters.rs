//! The counters that the host knows, by the API and the model that they are about. There may be thousands, so
//! they are searched in two steps, in each of which what is counted most tends to stand first.

use std::fmt;
use std::mem;
use std::rc::Rc;

use crate::llm::Api;
use crate::report::{CounterName, Subject};

/// What some counters are about. Those that no API has are about none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) api: Option<Api>,
    pub(super) model: Option<Rc<str>>,
}

impl About {
    /// What a counter of this name is about, for a request.
    pub(super) fn new(name: CounterName, subject: &Subject) -> Self {
        match name.is_by_api {
            true => Self {
                api: subject.api,
                model: subject.label.clone(),
            },
            false => Self::default(),
        }
    }
}

/// A counter with its labels, as the host names it.
struct Series<'a>(CounterName, &'a About);

impl fmt::Display for Series<'_> {
    /// `<family>[.<label>.<word>]...`, from which `stats_tags` can make labels (see
    /// `envoy/envoy.yaml`). The model comes last, because only it may have dots.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, About { api, model }) = self;
        f.write_str(name.family)?;
        let labels = [
            ("api", api.map(Api::name)),
            ("operation", name.operation),
            ("result", name.result),
            ("reason", name.reason),
            ("direction", name.direction),
            ("member", name.member),
            ("model", model.as_deref()),
        ];
        for (label, word) in labels {
            if let Some(word) = word {
                write!(f, ".{label}.{word}")?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Counter {
    name: CounterName,
    pub(super) id: u32,
    /// What the host has not been told yet.
    pub(super) unsent: u64,
}

#[derive(Debug)]
struct Group {
    about: About,
    counters: Vec<Counter>,
    /// A request of it has come.
    is_seen: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counters(Vec<Group>);

impl Counters {
    pub(super) fn find(&mut self, name: CounterName, about: &About) -> Option<&mut Counter> {
        let group = to_the_front(&mut self.0, |group| group.about == *about)?;
        to_the_front(&mut group.counters, |counter| counter.name == name)
    }

    /// Whether it is the first time that this is asked.
    pub(super) fn is_first_of(&mut self, about: &About) -> bool {
        !mem::replace(&mut self.group(about).is_seen, true)
    }

    /// Has a counter defined, unless it is: `define` is given the host's name for it.
    pub(super) fn define(
        &mut self,
        name: CounterName,
        about: &About,
        define: impl FnOnce(&str) -> Option<u32>,
    ) {
        let counters = &mut self.group(about).counters;
        if counters.iter().any(|counter| counter.name == name) {
            return;
        }
        if let Some(id) = define(&Series(name, about).to_string()) {
            counters.push(Counter {
                name,
                id,
                unsent: 0,
            });
        }
    }

    /// Each counter with what the host has not been told, which it is told now.
    pub(super) fn take_unsent(&mut self) -> impl Iterator<Item = (u32, u64)> {
        let counters = self.0.iter_mut().flat_map(|group| &mut group.counters);
        counters
            .map(|counter| (counter.id, mem::take(&mut counter.unsent)))
            .filter(|(_, unsent)| *unsent > 0)
    }

    fn group(&mut self, about: &About) -> &mut Group {
        let at = self.0.iter().position(|group| group.about == *about);
        let at = at.unwrap_or_else(|| {
            self.0.push(Group {
                about: about.clone(),
                counters: Vec::new(),
                is_seen: false,
            });
            self.0.len().saturating_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "it was found there, or put there")]
        &mut self.0[at]
    }
}

/// The element that is wanted, which takes the place of the one before it.
fn to_the_front<T>(elements: &mut [T], is_wanted: impl FnMut(&T) -> bool) -> Option<&mut T> {
    let at = elements.iter().position(is_wanted)?;
    let before = at.saturating_sub(1);
    elements.swap(before, at);
    elements.get_mut(before)
}
