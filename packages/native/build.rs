//! Lets the addon leave Node's symbols undefined where the linker must be told so.
fn main() {
    napi_build::setup();
}
