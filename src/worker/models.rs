//! The models that have a label of their own in metrics. A model becomes one when an answer of it is
//! stored, so that clients cannot make labels up, and only as long as there is room; all others share one.
//!
//! All workers of a process share the list, in shared data, under one name: otherwise each would have
//! other models in it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::report::OTHER_MODEL;
use crate::store::{SetFault, SharedData};

/// Under this name is the list: names of models, one in a line.
const MODELS: &str = "llm-cache/models";

/// What is longer is cut.
const MAX_NAME_BYTES: usize = 64;

/// How often the list is read for models that are not in it.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How often a name is added again if other workers were faster.
const TRIES: usize = 4;

/// The models that have a label of their own.
#[derive(Debug)]
pub(crate) struct Models {
    max: usize,
    other: Rc<str>,
    known: RefCell<Vec<Rc<str>>>,
    read_at: Cell<UnixMillis>,
}

impl Models {
    /// Room for `max` models.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            other: OTHER_MODEL.into(),
            known: RefCell::default(),
            read_at: Cell::default(),
        }
    }

    /// The label of all models that have none of their own.
    pub(crate) fn other(&self) -> Rc<str> {
        Rc::clone(&self.other)
    }

    /// The label of a model; `None` is one that is not known.
    pub(crate) fn label(
        &self,
        model: Option<&str>,
        shared: &dyn SharedData,
        now: UnixMillis,
    ) -> Rc<str> {
        let Some(name) = model.and_then(label) else {
            return Rc::clone(&self.other);
        };
        let known = self.known(&name).or_else(|| {
            let is_due = now.since(self.read_at.get()) >= READ_EVERY;
            if is_due {
                self.read_at.set(now);
                let listed = shared.get(MODELS).ok().flatten();
                self.learn(listed.as_ref().map_or(b"", |listed| &listed.value));
            }
            self.known(&name)
        });
        known.unwrap_or_else(|| Rc::clone(&self.other))
    }

    /// An answer of this model was stored: it gets a label, if there is room.
    pub(crate) fn add(&self, model: &str, shared: &dyn SharedData) {
        let Some(name) = label(model) else {
            return;
        };
        if self.known(&name).is_some() || self.known.borrow().len() >= self.max {
            return;
        }
        for _ in 0..TRIES {
            let Ok(listed) = shared.get(MODELS) else {
                return;
            };
            let (mut list, version) = match listed {
                Some(listed) => (listed.value.to_vec(), Some(listed.version)),
                None => (Vec::new(), None),
            };
            self.learn(&list);
            if self.known(&name).is_some() || self.known.borrow().len() >= self.max {
                return;
            }
            list.extend_from_slice(name.as_bytes());
            list.push(b'\n');
            match shared.set(MODELS, &list, version) {
                Ok(()) => return self.learn(&list),
                Err(SetFault::VersionMismatch) => {}
                Err(SetFault::Host) => return,
            }
        }
    }

    fn known(&self, name: &str) -> Option<Rc<str>> {
        let known = self.known.borrow();
        known.iter().find(|known| &***known == name).cloned()
    }

    /// Takes in the list, as far as there is room: a plugin with more room may have written it.
    fn learn(&self, list: &[u8]) {
        let names = list.split(|byte| *byte == b'\n');
        let names = names.filter_map(|name| str::from_utf8(name).ok());
        let mut known = self.known.borrow_mut();
        for name in names.filter(|name| label(name).as_deref() == Some(name)) {
            if known.len() < self.max && known.iter().all(|known| &**known != name) {
                known.push(name.into());
            }
        }
    }
}

/// The label that a model's name makes: what no name of a model has is written as `_`. `None` if nothing
/// is left.
fn label(model: &str) -> Option<String> {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    let kept = model.chars().map(|c| if is_kept(c) { c } else { '_' });
    let label: String = kept.take(MAX_NAME_BYTES).collect();
    (!label.is_empty()).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeSharedData;

    const NOW: UnixMillis = UnixMillis::from_millis(10_000);

    fn labels(models: &Models, shared: &FakeSharedData, now: UnixMillis) -> Vec<String> {
        let names = ["gpt-4.1", "claude", "gemini"];
        let labels = names.map(|name| models.label(Some(name), shared, now).to_string());
        labels.into()
    }

    #[test]
    fn a_model_has_a_label_once_an_answer_of_it_is_stored_and_there_is_room() {
        let shared = FakeSharedData::default();
        let models = Models::new(2);
        assert_eq!(labels(&models, &shared, NOW), ["other"; 3]);
        models.add("gpt-4.1", &shared);
        models.add("gpt-4.1", &shared);
        assert_eq!(labels(&models, &shared, NOW), ["gpt-4.1", "other", "other"]);
        models.add("claude", &shared);
        models.add("gemini", &shared);
        assert_eq!(
            labels(&models, &shared, NOW),
            ["gpt-4.1", "claude", "other"]
        );
        assert_eq!(&*models.label(None, &shared, NOW), "other");
        assert_eq!(&*models.label(Some(""), &shared, NOW), "other");
    }

    #[test]
    fn workers_share_their_labels() {
        let shared = FakeSharedData::default();
        let (one, other) = (Models::new(2), Models::new(2));
        one.add("gpt-4.1", &shared);
        assert_eq!(labels(&other, &shared, NOW), ["gpt-4.1", "other", "other"]);
        one.add("claude", &shared);
        // The list was read a moment ago.
        assert_eq!(labels(&other, &shared, NOW), ["gpt-4.1", "other", "other"]);
        let later = NOW + READ_EVERY;
        assert_eq!(
            labels(&other, &shared, later),
            ["gpt-4.1", "claude", "other"]
        );
        other.add("gemini", &shared);
        assert_eq!(
            labels(&other, &shared, later)[2],
            "other",
            "the room is shared"
        );
    }

    #[test]
    fn a_list_of_another_plugin_gives_no_more_labels_than_there_is_room_for() {
        let shared = FakeSharedData::default();
        let many = (0..100).map(|number| format!("model-{number}\n"));
        let list: String = many.collect();
        let odd = format!("{}\n\u{7f}\n\n{list}", "x".repeat(65));
        shared.set(MODELS, odd.as_bytes(), None).unwrap();
        let models = Models::new(3);
        for (model, expected) in [("model-2", "model-2"), ("model-3", "other")] {
            assert_eq!(&*models.label(Some(model), &shared, NOW), expected);
        }
        assert_eq!(models.known.borrow().len(), 3);
    }

    #[test]
    fn a_label_has_no_characters_that_a_series_could_not_have() {
        for (model, expected) in [
            (
                "us.anthropic.claude-sonnet-4-v1:0",
                "us.anthropic.claude-sonnet-4-v1:0",
            ),
            ("@cf/meta/llama-3", "@cf/meta/llama-3"),
            ("a b\n\"c\"\u{e9}", "a_b__c__"),
        ] {
            assert_eq!(label(model).as_deref(), Some(expected));
        }
        assert_eq!(label(&"x".repeat(1_000)).map(|label| label.len()), Some(64));
    }

    #[test]
    fn a_host_without_shared_data_has_no_labels() {
        let shared = FakeSharedData::default();
        shared.refused.set(Some("llm-cache/"));
        let models = Models::new(2);
        models.add("gpt-4.1", &shared);
        assert_eq!(labels(&models, &shared, NOW), ["other"; 3]);
    }
}
