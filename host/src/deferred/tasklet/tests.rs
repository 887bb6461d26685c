use proptest::prelude::*;

use super::{
    list::{Linked, List},
    state::{Begun, Scheduled, State},
};
use crate::sync::{Arc, AtomicPtr};

/// Threads, each with a list.
const THREADS: usize = 2;
const TASKLETS: usize = 3;

/// What may happen, one thing at a time; a run takes from its begin to its end.
#[derive(Clone, Debug)]
enum Step {
    Schedule {
        tasklet: usize,
        thread: usize,
    },
    Disable {
        tasklet: usize,
    },
    Enable {
        tasklet: usize,
        thread: usize,
    },
    Kill {
        tasklet: usize,
    },
    /// The thread takes its list and begins what it finds.
    Begin {
        thread: usize,
    },
    /// All runs that the thread has begun end.
    End {
        thread: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (tasklet, thread) = (0..TASKLETS, 0..THREADS);
    let both = (tasklet.clone(), thread.clone());
    prop_oneof![
        4 => both.clone().prop_map(|(tasklet, thread)| Step::Schedule { tasklet, thread }),
        2 => tasklet.clone().prop_map(|tasklet| Step::Disable { tasklet }),
        2 => both.prop_map(|(tasklet, thread)| Step::Enable { tasklet, thread }),
        1 => tasklet.prop_map(|tasklet| Step::Kill { tasklet }),
        4 => thread.clone().prop_map(|thread| Step::Begin { thread }),
        4 => thread.prop_map(|thread| Step::End { thread }),
    ]
}

/// A tasklet as its description has it.
#[derive(Clone, Debug, Default)]
struct Model {
    scheduled: bool,
    disabled: u64,
    killed: bool,
    /// The thread that runs it.
    runs_on: Option<usize>,
    /// The list it is in.
    list: Option<usize>,
}

#[derive(Debug)]
struct Real {
    number: usize,
    state: State,
    link: AtomicPtr<Self>,
}

impl Linked for Real {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

struct Bench {
    lists: [List<Real>; THREADS],
    /// In the order in which they were put there.
    orders: [Vec<usize>; THREADS],
    tasklets: Vec<Arc<Real>>,
    models: Vec<Model>,
}

impl Bench {
    fn new() -> Self {
        let real =
            |number| Arc::new(Real { number, state: State::new(), link: AtomicPtr::default() });
        Self {
            lists: Default::default(),
            orders: Default::default(),
            tasklets: (0..TASKLETS).map(real).collect(),
            models: vec![Model::default(); TASKLETS],
        }
    }

    fn put(&mut self, tasklet: usize, thread: usize) {
        assert_eq!(self.models[tasklet].list.replace(thread), None, "in one list at most");
        self.orders[thread].push(tasklet);
        self.lists[thread].push(Arc::clone(&self.tasklets[tasklet]));
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Schedule { tasklet, thread } => self.schedule(tasklet, thread),
            Step::Disable { tasklet } => {
                self.tasklets[tasklet].state.disable();
                self.models[tasklet].disabled += 1;
            }
            Step::Enable { tasklet, thread } => self.enable(tasklet, thread),
            Step::Kill { tasklet } => {
                self.tasklets[tasklet].state.kill();
                let model = &mut self.models[tasklet];
                model.killed = true;
                model.scheduled &= model.list.is_some(); // Until it is found there.
            }
            Step::Begin { thread } => self.begin(thread),
            Step::End { thread } => {
                for (tasklet, model) in self.tasklets.iter().zip(&mut self.models) {
                    if model.runs_on == Some(thread) {
                        tasklet.state.end();
                        model.runs_on = None;
                    }
                }
            }
        }
    }

    fn schedule(&mut self, tasklet: usize, thread: usize) {
        let scheduled = self.tasklets[tasklet].state.schedule();
        let model = &mut self.models[tasklet];
        let expected = match model {
            Model { killed: true, .. } => Scheduled::Killed,
            Model { scheduled: true, .. } => Scheduled::Already,
            Model { disabled: 1.., .. } => Scheduled::Held,
            _ => Scheduled::List,
        };
        assert_eq!(scheduled, expected);
        model.scheduled |= !model.killed;
        if scheduled == Scheduled::List {
            self.put(tasklet, thread);
        }
    }

    fn enable(&mut self, tasklet: usize, thread: usize) {
        let enabled = self.tasklets[tasklet].state.enable();
        let model = &mut self.models[tasklet];
        if model.disabled == 0 {
            return assert_eq!(enabled, None);
        }
        model.disabled -= 1;
        let waits = model.scheduled && model.list.is_none();
        assert_eq!(enabled, Some(model.disabled == 0 && waits));
        if enabled == Some(true) {
            self.put(tasklet, thread);
        }
    }

    fn begin(&mut self, thread: usize) {
        let expected = std::mem::take(&mut self.orders[thread]);
        let taken: Vec<_> = self.lists[thread].take().collect();
        assert!(taken.iter().map(|tasklet| tasklet.number).eq(expected), "in the order of coming");
        for tasklet in taken {
            let model = &mut self.models[tasklet.number];
            model.list = None;
            let begun = tasklet.state.begin();
            match begun {
                Begun::Run => {
                    assert!(!model.killed && model.disabled == 0 && model.runs_on.is_none());
                    (model.scheduled, model.runs_on) = (false, Some(thread));
                }
                Begun::Busy => {
                    assert!(model.runs_on.is_some() && !model.killed && model.disabled == 0);
                    self.put(tasklet.number, thread);
                }
                Begun::Nothing => {
                    assert!(model.killed || model.disabled > 0);
                    model.scheduled &= !model.killed;
                }
            }
        }
    }

    fn check(&self) {
        for (tasklet, model) in self.tasklets.iter().zip(&self.models) {
            assert_eq!(tasklet.state.is_running(), model.runs_on.is_some());
            assert_eq!(tasklet.state.is_scheduled(), model.scheduled, "{model:?}");
            assert_eq!(tasklet.state.disabled(), model.disabled);
            assert_eq!(tasklet.state.is_killed(), model.killed);
        }
    }
}

#[test]
fn the_owner_takes_what_others_added_and_then_its_own_each_in_order() {
    let list = List::new();
    let add = |number: usize, own: bool| {
        let real = Arc::new(Real { number, state: State::new(), link: AtomicPtr::default() });
        if own { list.push_own(real) } else { list.push(real) }
    };
    for number in 0..6 {
        add(number, number % 2 == 0);
    }
    let numbers = |list: &List<Real>| list.take().map(|one| one.number).collect::<Vec<_>>();
    assert_eq!(numbers(&list), [1, 3, 5, 0, 2, 4]);
    assert!(numbers(&list).is_empty());
    add(7, true);
    assert_eq!(numbers(&list), [7]);
}

proptest! {
    #[test]
    fn a_script_of_one_thing_after_the_other_goes_as_described(
        script in prop::collection::vec(step(), 0..200),
    ) {
        let mut bench = Bench::new();
        for step in &script {
            bench.take(step);
            bench.check();
        }
    }
}
