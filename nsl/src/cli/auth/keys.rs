//! `nsl auth keys`.

use super::{Globals, output, session};

pub(super) async fn list(globals: &Globals) -> anyhow::Result<()> {
    // Anybody may ask; an address is all that it takes.
    let client = nsl_client::Client::new(&session::address(globals)?)?;
    let keys = client.auth().keys().await?;
    if globals.json {
        return output::json(&keys);
    }
    if keys.is_empty() {
        output::note("No published keys: JWT_SECRET_KEY signs (Jwt:Algorithm is HS256).");
        return Ok(());
    }
    let text = |value: Option<&serde_json::Value>| {
        value.and_then(serde_json::Value::as_str).unwrap_or("-").to_owned()
    };
    let rows: Vec<Vec<String>> =
        keys.iter().map(|key| vec![key.kid.clone(), key.alg.clone(), text(key.more.get("x"))]).collect();
    output::table(&["KID", "ALGORITHM", "PUBLIC KEY"], &rows)
}
