//! An allocator that counts, for each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// Below zero where more was freed than allocated: by others.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static HIGHEST: Cell<isize> = const { Cell::new(0) };
}

/// What an allocator takes beside what it gives, about.
const PER_ALLOCATION: usize = 16;

struct Counting;

// A thread that ends counts no more.
fn allocated(size: usize) {
    let _ended = COUNT.try_with(|count| count.set(count.get() + 1));
    let _ended = LIVE.try_with(|live| {
        live.set(live.get() + (size + PER_ALLOCATION) as isize);
        HIGHEST.try_with(|highest| highest.set(highest.get().max(live.get())))
    });
}

fn freed(size: usize) {
    let _ended = LIVE.try_with(|live| live.set(live.get() - (size + PER_ALLOCATION) as isize));
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: all is left to the system's allocator, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        freed(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        freed(layout.size());
        allocated(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread has allocated memory.
pub(crate) fn count() -> usize {
    COUNT.get()
}

/// How much this thread has allocated and not freed.
pub(crate) fn live() -> isize {
    LIVE.get()
}

/// How much more this thread had at once than before, while it did this.
pub(crate) fn highest(run: impl FnOnce()) -> usize {
    let before = live();
    HIGHEST.set(before);
    run();
    usize::try_from(HIGHEST.get() - before).unwrap_or(0)
}
