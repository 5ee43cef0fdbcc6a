//! Readability of a socket on Node's own event loop: `uv_poll`, with symbols of the running node binary.
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;
use std::rc::Rc;

use napi::sys;

const UV_POLL: c_int = 8;
const UV_READABLE: c_int = 1;
const UV_WRITABLE: c_int = 2;

#[repr(C)]
struct UvHandle {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn uv_handle_size(kind: c_int) -> usize;
    fn uv_poll_init(event_loop: *mut sys::uv_loop_s, handle: *mut UvHandle, fd: c_int) -> c_int;
    fn uv_poll_start(
        handle: *mut UvHandle,
        events: c_int,
        callback: extern "C" fn(*mut UvHandle, c_int, c_int),
    ) -> c_int;
    fn uv_close(handle: *mut UvHandle, callback: extern "C" fn(*mut UvHandle));
    fn uv_handle_set_data(handle: *mut UvHandle, data: *mut c_void);
    fn uv_handle_get_data(handle: *const UvHandle) -> *mut c_void;
    fn uv_strerror(error: c_int) -> *const c_char;
}

/// What the handle points at; freed by libuv's close callback.
struct State {
    env: sys::napi_env,
    context: sys::napi_async_context,
    callback: sys::napi_ref,
    handle: *mut UvHandle,
    cleanup: sys::napi_async_cleanup_hook_handle,
    fd: RawFd,
    events: Cell<c_int>,
    open: Rc<Cell<bool>>,
}

/// A running watch. It must be closed before the descriptor is.
pub struct Poll {
    state: *mut State,
    /// False once closing has begun, from either side; `state` is then out of bounds.
    open: Rc<Cell<bool>>,
}

impl Poll {
    /// Calls `callback(writable: boolean)` when `fd` is readable or, once `set_writable(true)`, writable.
    ///
    /// # Safety
    /// `env` is the environment of the calling thread, `callback` a function of it; `fd` stays open until `close`.
    pub unsafe fn start(env: sys::napi_env, callback: sys::napi_value, fd: RawFd) -> Result<Self, String> {
        // SAFETY: every pointer handed out below is to a live local or to memory that the close callback frees.
        unsafe {
            let mut event_loop = ptr::null_mut();
            check(sys::napi_get_uv_event_loop(env, &mut event_loop), "napi_get_uv_event_loop")?;
            let mut resource_name = ptr::null_mut();
            check(
                sys::napi_create_string_utf8(env, c"QUICETHER_UDP".as_ptr(), -1, &mut resource_name),
                "napi_create_string_utf8",
            )?;
            let mut context = ptr::null_mut();
            check(sys::napi_async_init(env, ptr::null_mut(), resource_name, &mut context), "napi_async_init")?;
            let mut reference = ptr::null_mut();
            check(sys::napi_create_reference(env, callback, 1, &mut reference), "napi_create_reference")?;
            let size = uv_handle_size(UV_POLL);
            let handle = std::alloc::alloc_zeroed(handle_layout(size)).cast::<UvHandle>();
            let problem = uv_poll_init(event_loop, handle, fd);
            if problem != 0 {
                std::alloc::dealloc(handle.cast(), handle_layout(size));
                sys::napi_delete_reference(env, reference);
                sys::napi_async_destroy(env, context);
                return Err(describe(problem));
            }
            let open = Rc::new(Cell::new(true));
            let state = Box::into_raw(Box::new(State {
                env,
                context,
                callback: reference,
                handle,
                cleanup: ptr::null_mut(),
                fd,
                events: Cell::new(UV_READABLE),
                open: open.clone(),
            }));
            uv_handle_set_data(handle, state.cast());
            sys::napi_add_async_cleanup_hook(env, Some(on_cleanup), state.cast(), &mut (*state).cleanup);
            let poll = Self { state, open };
            poll.set_writable(false);
            Ok(poll)
        }
    }

    /// Whether the callback is also wanted when the socket takes datagrams again.
    pub fn set_writable(&self, wanted: bool) {
        self.watch_for(UV_WRITABLE, wanted);
    }

    /// Whether the callback is wanted when datagrams wait; it is at first.
    pub fn set_readable(&self, wanted: bool) {
        self.watch_for(UV_READABLE, wanted);
    }

    fn watch_for(&self, event: c_int, wanted: bool) {
        if self.open.get() {
            // SAFETY: the state lives as long as `open` says so. No events at all stops the watch.
            unsafe {
                let others = (*self.state).events.get() & !event;
                let events = if wanted { others | event } else { others };
                (*self.state).events.set(events);
                uv_poll_start((*self.state).handle, events, on_ready);
            }
        }
    }

    /// Stops at once; libuv frees the rest in its next turn. The descriptor may be closed right away.
    pub fn close(&self) {
        if self.open.get() {
            close_state(self.state);
        }
    }
}

fn close_state(state: *mut State) {
    // SAFETY: `open` makes sure that the handle is closed once; it is valid until the close callback has run.
    unsafe {
        if (*state).open.replace(false) {
            uv_close((*state).handle, on_closed);
        }
    }
}

extern "C" fn on_ready(handle: *mut UvHandle, problem: c_int, events: c_int) {
    // SAFETY: libuv calls this on the thread of the environment while the handle is open.
    unsafe {
        let state = uv_handle_get_data(handle).cast::<State>();
        let env = (*state).env;
        let mut scope = ptr::null_mut();
        if sys::napi_open_handle_scope(env, &mut scope) != sys::Status::napi_ok {
            return;
        }
        let (mut callback, mut receiver, mut writable) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        sys::napi_get_reference_value(env, (*state).callback, &mut callback);
        sys::napi_get_global(env, &mut receiver);
        sys::napi_get_boolean(env, events & UV_WRITABLE != 0, &mut writable);
        // Unlike a plain call this runs process.nextTick and microtasks afterwards.
        let status = sys::napi_make_callback(env, (*state).context, receiver, callback, 1, &writable, ptr::null_mut());
        if status == sys::Status::napi_pending_exception {
            let mut exception = ptr::null_mut();
            sys::napi_get_and_clear_last_exception(env, &mut exception);
            sys::napi_fatal_exception(env, exception);
        }
        sys::napi_close_handle_scope(env, scope);
        if problem < 0 && (*state).open.get() {
            // libuv stops watching after an error of the socket, e.g. an ICMP message; for UDP that is no end.
            let (mut pending, mut size) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
            let place = ptr::from_mut(&mut pending).cast();
            libc::getsockopt((*state).fd, libc::SOL_SOCKET, libc::SO_ERROR, place, &mut size);
            uv_poll_start(handle, (*state).events.get(), on_ready);
        }
    }
}

/// The environment ends (a worker was terminated) while the socket is open.
extern "C" fn on_cleanup(_hook: sys::napi_async_cleanup_hook_handle, state: *mut c_void) {
    close_state(state.cast());
}

extern "C" fn on_closed(handle: *mut UvHandle) {
    // SAFETY: the last use of handle and state; both were allocated by `start`.
    unsafe {
        let state = Box::from_raw(uv_handle_get_data(handle).cast::<State>());
        let mut scope = ptr::null_mut();
        let scoped = sys::napi_open_handle_scope(state.env, &mut scope) == sys::Status::napi_ok;
        sys::napi_delete_reference(state.env, state.callback);
        sys::napi_async_destroy(state.env, state.context);
        if scoped {
            sys::napi_close_handle_scope(state.env, scope);
        }
        std::alloc::dealloc(handle.cast(), handle_layout(uv_handle_size(UV_POLL)));
        sys::napi_remove_async_cleanup_hook(state.cleanup);
    }
}

fn handle_layout(size: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(size, 16).expect("a handle is a few hundred bytes")
}

fn check(status: sys::napi_status, what: &str) -> Result<(), String> {
    if status == sys::Status::napi_ok { Ok(()) } else { Err(format!("{what} failed with status {status}")) }
}

fn describe(problem: c_int) -> String {
    // SAFETY: libuv returns a static string.
    unsafe { std::ffi::CStr::from_ptr(uv_strerror(problem)) }.to_string_lossy().into_owned()
}
