//! An allocator that counts what each thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// Negative where a thread frees what another one allocated.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static HIGHEST: Cell<isize> = const { Cell::new(0) };
}

/// About how many bytes an allocator adds to each allocation.
const PER_ALLOCATION: usize = 16;

struct Counting;

// Nothing is counted while a thread ends.
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
// SAFETY: every call goes to the system's allocator, with the same arguments.
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

/// How many bytes this thread has allocated and not freed.
pub(crate) fn live() -> isize {
    LIVE.get()
}

/// The peak of what this thread allocates during `run`, in bytes.
pub(crate) fn highest(run: impl FnOnce()) -> usize {
    let before = live();
    HIGHEST.set(before);
    run();
    usize::try_from(HIGHEST.get() - before).unwrap_or(0)
}
