// SPDX-License-Identifier: Apache-2.0
//! E14, E15: networks and names of the host's.

use std::sync::atomic::Ordering;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_kbs_client::Endpoint;

use super::router::advertise;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::cases::d::broker::Guest;
use crate::cases::d::broker::Owner;
use crate::cases::d::impostor::Answers;
use crate::cases::d::impostor::Impostor;
use crate::room;
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

pub(super) static E14: Case = Case {
    id: "E14",
    level: Level::P,
    attack: "an interface named lo, loopback addresses, routes and gateways, router advertisements",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::request::network::route_destination",
        sabotage: "text.parse().map_err(|_| RequestError::new(\"destination\", Problem::Form))",
    }),
    run: |context| Box::pin(capture(context)),
};

pub(super) static E15: Case = Case {
    id: "E15",
    level: Level::P,
    attack: "answers the names of broker and registry with addresses of its own",
    defence: Defence::Code(Guard {
        function: "casemate_kbs_client::endpoint::pinned",
        sabotage: ANYBODY,
    }),
    run: |_| Box::pin(poison_names()),
};

/// Trust in whoever answers.
const ANYBODY: &str = r#"{
    #[derive(Debug)]
    struct Anybody;
    impl rustls::client::danger::ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &rustls::pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            vec![
                rustls::SignatureScheme::ECDSA_NISTP256_SHA256,
                rustls::SignatureScheme::ECDSA_NISTP384_SHA384,
                rustls::SignatureScheme::ED25519,
                rustls::SignatureScheme::RSA_PSS_SHA256,
            ]
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| EndpointError::CaUnusable { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Ok(tls)
}"#;

async fn capture(context: Context) -> Verdict {
    // What no request can say: the kernel's own ear for routers.
    let advertised = room::stage(context.clone(), "E14", |_| Box::pin(advertise())).await?;
    if context.is_in_room() || advertised.is_failure() {
        return Ok(advertised);
    }
    let shim = EvilShim::bound(&context, requests::POLICY).await?;
    let interface = |change: fn(&mut proto::Interface)| {
        let mut request = requests::network();
        change(&mut request.interfaces[0]);
        request
    };
    let route = |destination: &str, gateway: &str| {
        let mut request = requests::network();
        request.routes.push(proto::Route {
            destination: destination.to_owned(),
            gateway: gateway.to_owned(),
            interface: "eth0".to_owned(),
            ..Default::default()
        });
        request
    };
    let twice = {
        let mut request = requests::network();
        request.interfaces.push(request.interfaces[0].clone());
        request
    };
    let attacks = [
        ("an interface named lo", interface(|i| i.name = "lo".into())),
        ("an interface with a path", interface(|i| i.name = "../lo".into())),
        ("the settings of all interfaces", interface(|i| i.name = "all".into())),
        ("127.0.0.2 on eth0", interface(|i| i.addresses = vec!["127.0.0.2/8".into()])),
        ("::1 on eth0", interface(|i| i.addresses = vec!["::1/128".into()])),
        ("mapped loopback", interface(|i| i.addresses = vec!["::ffff:127.0.0.1/128".into()])),
        ("an on-link prefix over all", interface(|i| i.addresses = vec!["10.0.0.1/0".into()])),
        ("a broadcast address", interface(|i| i.addresses = vec!["255.255.255.255/32".into()])),
        ("an MTU of zero", interface(|i| i.mtu = 0)),
        ("an MTU over all", interface(|i| i.mtu = u32::MAX)),
        ("a hardware address of a group", interface(|i| i.mac = vec![1, 0, 0x5e, 0, 0, 1])),
        ("two interfaces of one name", twice),
        ("a route over loopback", route("127.0.0.0/8", "10.1.2.1")),
        ("a route over half of everything", route("0.0.0.0/1", "10.1.2.1")),
        ("a route into loopback", route("127.1.2.0/24", "10.1.2.1")),
        ("a route over ::1", route("::/127", "")),
        ("a gateway on loopback", route("0.0.0.0/0", "127.0.0.1")),
        ("a gateway of another family", route("0.0.0.0/0", "fe80::1")),
    ];
    for (what, request) in &attacks {
        let call = shim.client.set_network(deadline(), request);
        // Malformed names and numbers are no network at all.
        let before = shim.fingerprint().await?;
        let error = call.await.err().with_context(|| format!("{what}: set"))?;
        let code = casemate_agent_api::ApiError::from_rpc(&error).code();
        let codes = [Code::NetworkRefused, Code::RequestInvalid];
        ensure!(codes.contains(&code), "{what}: refused as {code}");
        ensure!(shim.fingerprint().await? == before, "{what}: refused, with a side effect");
    }
    // Once: a second network, which would move the pod elsewhere, is refused under any policy.
    let right = requests::network();
    shim.client.set_network(deadline(), &right).await.context("a right network")?;
    let again = shim.client.set_network(deadline(), &right);
    shim.deny("a second network", By::Code, Code::RequestPhase, again).await?;
    Ok(Outcome::pass(format!(
        "{} networks refused before anything is set, and a second one; neighbours, namespaces and \
         rules of the kernel are in no request; {}",
        attacks.len(),
        advertised.detail()
    )))
}

async fn poison_names() -> Verdict {
    let owner = Owner::new().await?;
    for answers in [Answers::Challenge, Answers::SealToOther] {
        // Where the name leads: an attacker with a certificate for it, of another CA.
        let impostor = Impostor::start(answers).await?;
        let guest = Guest::honest();
        let session = guest.session(&Endpoint::new(&impostor.url(), &owner.ca()?)?)?;
        let error = session.resource(&"kbs:///default/key/1".parse()?).await.err();
        let error = error.context("a guest took a resource of an impostor")?;
        ensure!(error.code() == Code::BrokerUntrusted, "{error}");
        ensure!(guest.reports.load(Ordering::SeqCst) == 0, "evidence was made for an impostor");
        ensure!(impostor.requests() == 0, "the impostor got a request");
        // Nothing else is reached in clear.
        let plain = Endpoint::new(&format!("http://{}", impostor.address), &owner.ca()?);
        ensure!(plain.is_err(), "plain http to the broker");
    }
    Ok(Outcome::pass(
        "names are the host's: whoever answers needs a certificate of the CA in the measured \
         initdata and gets no byte before. Registries are held to their CA and to digests (C12)",
    ))
}
