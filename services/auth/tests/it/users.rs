//! Users of a tenant.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD, Tokens, World, id, refusal};

fn user(username: &str) -> Value {
    json!({"username": username, "password": PASSWORD})
}

#[tokio::test]
async fn an_administrator_makes_users_who_can_log_in() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let body = json!({"username": "ann", "password": PASSWORD, "email": "ann@example.org", "fullName": "Ann",
                      "roles": ["auditor", "User", "user"]});
    let response = world.create(&admin, &body).await.expect(StatusCode::CREATED);
    let made = response.json();
    assert_eq!(response.header("location"), format!("/api/v1/auth/users/{}", id(&made)));
    assert_eq!(
        (&made["username"], &made["email"], &made["fullName"], &made["status"], &made["roles"]),
        (
            &json!("ann"),
            &json!("ann@example.org"),
            &json!("Ann"),
            &json!("active"),
            &json!(["Auditor", "User"])
        )
    );
    assert!(!response.text().contains("password"), "{}", response.text());
    let path = format!("/api/v1/auth/users/{}", id(&made));
    let read = world.app.get(&path).bearer(&admin).send().await.expect(StatusCode::OK).json();
    assert_eq!(read, made);
    let me = world.me(&world.tokens("ann").await.access).await.expect(StatusCode::OK).json();
    assert_eq!(id(&me), id(&made));
    // Without roles named, a plain user.
    let plain = world.create(&admin, &user("bob")).await.expect(StatusCode::CREATED).json();
    assert_eq!(plain["roles"], json!(["User"]));
    Ok(())
}

#[tokio::test]
async fn a_name_or_address_is_one_users_whatever_the_case() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let mut ann = user("ann");
    ann["email"] = json!("ann@example.org");
    world.create(&admin, &ann).await.expect(StatusCode::CREATED);
    let taken = world.create(&admin, &user("ANN")).await;
    assert_eq!(refusal(&taken), (409, "auth.username_taken".to_owned()));
    let mut bob = user("bob");
    bob["email"] = json!("Ann@Example.org");
    let taken = world.create(&admin, &bob).await;
    assert_eq!(refusal(&taken), (409, "auth.email_taken".to_owned()));
    Ok(())
}

#[tokio::test]
async fn fields_that_cannot_be_accepted_are_all_named() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let body = json!({"username": "a\u{0}nn", "password": "short", "email": "no\u{0}@x", "fullName": "\u{0}",
                      "roles": ["User", "x\u{0}"]});
    let response = world.create(&admin, &body).await;
    assert_eq!(refusal(&response), (422, "auth.invalid_field".to_owned()));
    let errors = response.json()["errors"].clone();
    let pointers: Vec<&str> =
        errors.as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
    assert_eq!(pointers, ["/username", "/password", "/email", "/fullName", "/roles/1"]);

    let mut same = user("administrator1");
    same["password"] = json!("Administrator1");
    assert_eq!(refusal(&world.create(&admin, &same).await).0, 422);
    let mut unknown = user("ann");
    unknown["roles"] = json!(["User", "Emperor"]);
    let response = world.create(&admin, &unknown).await;
    assert_eq!(refusal(&response), (422, "auth.invalid_field".to_owned()));
    assert_eq!(response.json()["errors"][0]["pointer"], json!("/roles/1"));
    Ok(())
}

#[tokio::test]
async fn only_who_may_sees_and_makes_users() -> anyhow::Result<()> {
    let world = World::new().await?;
    for role in ["User", "Developer", "Auditor", "Operator"] {
        let name = format!("an {role}");
        let someone = world.add(&name, &[role]).await;
        let token = world.tokens(&name).await.access;
        world.me(&token).await.expect(StatusCode::OK);
        for response in [
            world.app.get("/api/v1/auth/users").bearer(&token).send().await,
            world.app.get(&format!("/api/v1/auth/users/{someone}")).bearer(&token).send().await,
            // Refused before the body is looked at.
            world.create(&token, &json!(7)).await,
        ] {
            assert_eq!(refusal(&response), (403, "core.permission_missing".to_owned()), "{role}");
        }
    }
    for path in ["/api/v1/auth/users", "/api/v1/auth/me", "/api/v1/auth/users/not-an-id"] {
        assert_eq!(refusal(&world.app.get(path).send().await), (401, "core.credential_missing".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn nobody_gives_a_permission_that_they_lack() -> anyhow::Result<()> {
    let world = World::new().await?;
    let clerk = world.add("clerk", &[]).await;
    let owner = world.db.client("neo_user").await?;
    let (role, tenant) = (Uuid::now_v7(), nsl_core::ids::TenantId::DEFAULT);
    owner
        .execute("INSERT INTO auth.roles (id, tenant_id, name) VALUES ($1, $2, 'Clerk')", &[&role, &tenant])
        .await?;
    owner
        .execute(
            "INSERT INTO auth.role_permissions (role_id, tenant_id, permission) \
             SELECT $1, $2, unnest(ARRAY['auth:self', 'auth:users'])",
            &[&role, &tenant],
        )
        .await?;
    owner
        .execute(
            "INSERT INTO auth.user_roles (tenant_id, user_id, role_id) VALUES ($1, $2, $3)",
            &[&tenant, &clerk, &role],
        )
        .await?;
    let token = world.tokens("clerk").await.access;
    for role in ["Administrator", "User"] {
        let mut body = user("made by the clerk");
        body["roles"] = json!(["Clerk", role]);
        let response = world.create(&token, &body).await;
        assert_eq!(refusal(&response), (403, "auth.role_exceeds_caller".to_owned()), "{role}");
    }
    let mut body = user("made by the clerk");
    body["roles"] = json!(["Clerk"]);
    world.create(&token, &body).await.expect(StatusCode::CREATED);
    Ok(())
}

#[tokio::test]
async fn tenants_do_not_see_each_others_users() -> anyhow::Result<()> {
    let world = World::new().await?;
    let both = world.add("both", &["User"]).await;
    let ann = world.add("ann", &["User"]).await;
    let second = world.db.tenant("second").await?;
    world.join(both, second).await?;
    let body = json!({"username": "both", "password": PASSWORD, "tenant": second});
    let response = world.app.post("/api/v1/auth/login").json(&body).send().await.expect(StatusCode::OK);
    let there = Tokens::of(&response).access;
    let bob = id(&world.create(&there, &user("bob")).await.expect(StatusCode::CREATED).json());
    let here = world.tokens(ADMIN).await.access;

    let names = async |token: &str| {
        let page =
            world.app.get("/api/v1/auth/users").bearer(token).send().await.expect(StatusCode::OK).json();
        let items = page["items"].as_array().expect("items").clone();
        items.iter().map(|user| user["username"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&here).await, [ADMIN, "both", "ann"]);
    assert_eq!(names(&there).await, ["both", "bob"]);
    for (token, user) in [(&here, bob), (&there, ann)] {
        let response = world.app.get(&format!("/api/v1/auth/users/{user}")).bearer(token).send().await;
        assert_eq!(refusal(&response), (404, "auth.user_not_found".to_owned()));
    }
    // Roles, too, are of one tenant.
    let path = format!("/api/v1/auth/users/{both}");
    let seen = world.app.get(&path).bearer(&here).send().await.expect(StatusCode::OK).json();
    assert_eq!(seen["roles"], json!(["User"]));
    Ok(())
}

#[tokio::test]
async fn a_list_is_paged() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    for name in ["u01", "u02", "u03", "u04"] {
        world.create(&admin, &user(name)).await.expect(StatusCode::CREATED);
    }
    let (mut names, mut path) = (Vec::new(), "/api/v1/auth/users?limit=2".to_owned());
    loop {
        let page = world.app.get(&path).bearer(&admin).send().await.expect(StatusCode::OK).json();
        let items = page["items"].as_array().unwrap().clone();
        assert!(items.len() <= 2);
        names.extend(items.iter().map(|user| user["username"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/api/v1/auth/users?limit=2&cursor={cursor}");
    }
    assert_eq!(names, [ADMIN, "u01", "u02", "u03", "u04"]);
    for (query, code) in [
        ("limit=0", "core.invalid_query"),
        ("limit=1001", "core.invalid_query"),
        ("cursor=%00", "core.invalid_cursor"),
    ] {
        let response = world.app.get(&format!("/api/v1/auth/users?{query}")).bearer(&admin).send().await;
        assert_eq!(refusal(&response), (400, code.to_owned()), "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn an_idempotency_key_replays_the_first_answer_and_refuses_another_request() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    let create = |body: Value| {
        world
            .app
            .post("/api/v1/auth/users")
            .bearer(&admin)
            .header("idempotency-key", "one")
            .json(&body)
            .send()
    };
    // Eight at once: the later ones wait for the first one's end and see its answer.
    let answers = futures::future::join_all((0..8).map(|_| create(user("ann")))).await;
    let first = answers[0].json();
    for answer in answers {
        assert_eq!(answer.expect(StatusCode::CREATED).json(), first);
    }
    let replayed = create(user("ann")).await.expect(StatusCode::CREATED);
    assert_eq!(replayed.header("idempotency-replayed"), "true");
    assert_eq!(refusal(&create(user("bob")).await), (422, "core.idempotency_key_reused".to_owned()));
    let long = "k".repeat(256);
    let refused = world.app.post("/api/v1/auth/users").bearer(&admin).header("idempotency-key", &long);
    let refused = refused.json(&user("bob")).send().await;
    assert_eq!(refusal(&refused), (400, "core.invalid_idempotency_key".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_refused_request_leaves_its_idempotency_key_free() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.tokens(ADMIN).await.access;
    world.create(&admin, &user("ann")).await.expect(StatusCode::CREATED);
    let create = |body: Value| {
        world
            .app
            .post("/api/v1/auth/users")
            .bearer(&admin)
            .header("idempotency-key", "two")
            .json(&body)
            .send()
    };
    assert_eq!(refusal(&create(user("ann")).await), (409, "auth.username_taken".to_owned()));
    create(user("bob")).await.expect(StatusCode::CREATED);
    Ok(())
}
