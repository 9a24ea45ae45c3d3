//! Stops the shared test server and removes its data, and what killed tests left: `cargo run -p nsl-testkit --bin stop`.

fn main() -> anyhow::Result<()> {
    for directory in nsl_testkit::Cluster::stop_all()? {
        println!("stopped and removed {}", directory.display());
    }
    Ok(())
}
