//! Two quotes of real machines with Intel's collateral of June 2025 (tests/data/dcap): accepted at their time under an
//! expectation that fits, and refused, by name, when anything about them is changed.

use std::ops::RangeInclusive;
use std::path::Path;

use super::*;

/// In the midst of the time in which both verify.
const NOW: i64 = 1_751_000_000;

struct Sample {
    bytes: Vec<u8>,
    collateral: Collateral,
    tee: Tee,
    valid: RangeInclusive<i64>,
    status: &'static str,
}

fn data(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/dcap");
    std::fs::read(dir.join(name)).unwrap()
}

fn sample(name: &str, tee: Tee, valid: RangeInclusive<i64>, status: &'static str) -> Sample {
    let collateral = serde_json::from_slice(&data(&format!("{name}_collateral.json"))).unwrap();
    Sample { bytes: data(name), collateral, tee, valid, status }
}

fn sgx() -> Sample {
    sample("sgx_quote", Tee::Sgx, 1_750_330_571..=1_752_919_278, "ConfigurationAndSWHardeningNeeded")
}

fn tdx() -> Sample {
    sample("tdx_quote", Tee::Tdx, 1_750_329_147..=1_752_919_234, "UpToDate")
}

impl Sample {
    fn verify(&self, now: i64) -> Result<Genuine, Reason> {
        Quote::read(self.bytes.clone()).unwrap().verify(&self.collateral, now)
    }

    fn genuine(&self) -> Genuine {
        self.verify(NOW).unwrap()
    }

    /// The same with one bit changed.
    fn flipped(&self, at: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[at] ^= 1;
        bytes
    }
}

fn code(result: Result<Genuine, Reason>) -> String {
    result.map(|genuine| genuine.tcb_status).unwrap_err().code.into_owned()
}

#[test]
fn both_are_genuine_and_say_what_is_known_of_them() {
    let (sgx, tdx) = (sgx().genuine(), tdx().genuine());
    assert_eq!((sgx.tee, sgx.tcb_status.as_str()), (Tee::Sgx, "ConfigurationAndSWHardeningNeeded"));
    assert_eq!(sgx.advisory_ids, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    let measured = &sgx.measurements;
    let enclave = "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb";
    let signer = "815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6";
    assert_eq!(
        (measured.mr_enclave.as_deref(), measured.mr_signer.as_deref()),
        (Some(enclave), Some(signer))
    );
    assert_eq!((measured.isv_prod_id, measured.isv_svn), (Some(0), Some(0)));
    assert_eq!(measured.attributes.as_deref(), Some("0500000000000000e700000000000000"));
    assert_eq!(sgx.report_data, padded(b"Hello, world!").unwrap());

    assert_eq!((tdx.tee, tdx.tcb_status.as_str()), (Tee::Tdx, "UpToDate"));
    assert!(tdx.advisory_ids.is_empty());
    let measured = &tdx.measurements;
    let domain =
        "91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407de03ae6dc5f87f27428b2538873118b7";
    let rtmr0 =
        "44c0197b39157fdd7a4dcc44767f9d6b0bb3977c7a8e347b8492f827fe9d9e5c48aca29b220b80b6a540cf994b9bc9c0";
    assert_eq!((measured.mr_td.as_deref(), measured.rtmr.len()), (Some(domain), 4));
    assert_eq!(
        (measured.rtmr[0].as_str(), measured.td_attributes.as_deref()),
        (rtmr0, Some("0000001000000000"))
    );
    assert!(measured.mr_enclave.is_none() && measured.isv_svn.is_none());
}

#[test]
fn each_is_genuine_from_its_first_second_to_its_last() {
    for sample in [sgx(), tdx()] {
        let (first, last) = (*sample.valid.start(), *sample.valid.end());
        for now in [first, last] {
            assert_eq!(sample.verify(now).unwrap().tcb_status, sample.status);
        }
        assert_eq!(code(sample.verify(first - 1)), "collateral_not_yet_valid", "{:?}", sample.tee);
        assert_eq!(code(sample.verify(0)), "collateral_not_yet_valid", "{:?}", sample.tee);
        assert_eq!(code(sample.verify(last + 1)), "collateral_expired", "{:?}", sample.tee);
        assert_eq!(code(sample.verify(1_800_000_000)), "collateral_expired", "{:?}", sample.tee);
        // A list of revocations ends before the second that it names, everything else after it.
        assert!((last..=last + 1).contains(&sample.genuine().collateral_until), "{:?}", sample.tee);
    }
}

/// Fields of the header, with where they begin.
const HEADER: [(&str, usize); 5] =
    [("attestation key type", 2), ("QE SVN", 8), ("PCE SVN", 10), ("QE vendor", 12), ("user data", 28)];
/// Fields of an enclave's report, counted from its start.
const ENCLAVE: [(&str, usize); 12] = [
    ("CPUSVN", 0),
    ("MISCSELECT", 16),
    ("reserved", 20),
    ("ATTRIBUTES", 48),
    ("XFRM", 56),
    ("MRENCLAVE", 64),
    ("reserved", 96),
    ("MRSIGNER", 128),
    ("reserved", 160),
    ("ISVPRODID", 256),
    ("ISVSVN", 258),
    ("REPORTDATA", 320),
];
/// Fields of a trust domain's report.
const DOMAIN: [(&str, usize); 15] = [
    ("TEE_TCB_SVN", 0),
    ("MRSEAM", 16),
    ("MRSIGNERSEAM", 64),
    ("SEAMATTRIBUTES", 112),
    ("TDATTRIBUTES", 120),
    ("XFAM", 128),
    ("MRTD", 136),
    ("MRCONFIGID", 184),
    ("MROWNER", 232),
    ("MROWNERCONFIG", 280),
    ("RTMR0", 328),
    ("RTMR1", 376),
    ("RTMR2", 424),
    ("RTMR3", 472),
    ("REPORTDATA", 520),
];
/// What follows the report, counted from the length of it: the report's signature, the key that made it, and, further on
/// in a TDX quote, what vouches for that key.
fn signatures(tee: Tee) -> Vec<(&'static str, usize)> {
    let nested = if tee == Tee::Tdx { 6 } else { 0 };
    let quoting = 4 + 64 + 64 + nested;
    vec![
        ("signature", 4),
        ("attestation key", 4 + 64),
        ("QE report: MRSIGNER", quoting + 128),
        ("QE report: REPORTDATA", quoting + 320),
        ("QE report's signature", quoting + 384),
        ("QE authentication data", quoting + 384 + 64 + 2),
    ]
}

#[test]
fn a_change_of_any_field_is_found() {
    for sample in [sgx(), tdx()] {
        let (report, length): (&[_], usize) = match sample.tee {
            Tee::Sgx => (&ENCLAVE, 384),
            Tee::Tdx => (&DOMAIN, 584),
        };
        let fields = HEADER
            .into_iter()
            .chain(report.iter().map(|(name, at)| (*name, 48 + at)))
            .chain(signatures(sample.tee).into_iter().map(|(name, at)| (name, 48 + length + at)));
        for (name, at) in fields {
            let Ok(quote) = Quote::read(sample.flipped(at)) else {
                panic!("{:?} {name}: still a quote, and not a genuine one", sample.tee);
            };
            let refused = quote.verify(&sample.collateral, NOW).map(|genuine| genuine.tcb_status);
            let refused = refused.expect_err(name);
            assert!(["not_genuine", "debug"].contains(&&*refused.code), "{:?} {name}: {refused}", sample.tee);
        }
        // The certificate of the platform, in the midst of its text.
        let chain =
            sample.bytes.windows(27).position(|window| window == b"-----BEGIN CERTIFICATE-----").unwrap();
        let quote = Quote::read(sample.flipped(chain + 200)).unwrap();
        assert_eq!(code(quote.verify(&sample.collateral, NOW)), "not_genuine", "{:?}", sample.tee);
    }
}

#[test]
fn a_change_of_any_part_of_the_collateral_is_found() {
    /// Changes one letter in the first certificate of a chain; the last is Intel's root, which the verifier has itself.
    fn letter(text: &str) -> String {
        let at = text.len() / 4;
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    }
    fn bit(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() - 10;
        bytes[at] ^= 1;
        bytes
    }
    type Change = (&'static str, fn(&mut Collateral));
    let changes: [Change; 8] = [
        ("root_ca_crl", |c| c.root_ca_crl = bit(&c.root_ca_crl)),
        ("pck_crl", |c| c.pck_crl = bit(&c.pck_crl)),
        ("tcb_info_issuer_chain", |c| c.tcb_info_issuer_chain = letter(&c.tcb_info_issuer_chain)),
        ("tcb_info", |c| c.tcb_info = c.tcb_info.replacen("\"tcbType\":0", "\"tcbType\":1", 1)),
        ("tcb_info_signature", |c| c.tcb_info_signature = bit(&c.tcb_info_signature)),
        ("qe_identity_issuer_chain", |c| c.qe_identity_issuer_chain = letter(&c.qe_identity_issuer_chain)),
        ("qe_identity", |c| c.qe_identity = c.qe_identity.replacen("\"isvsvn\":", "\"isvsvn\": ", 1)),
        ("qe_identity_signature", |c| c.qe_identity_signature = bit(&c.qe_identity_signature)),
    ];
    for sample in [sgx(), tdx()] {
        let quote = Quote::read(sample.bytes.clone()).unwrap();
        for (part, change) in changes {
            let mut collateral = sample.collateral.clone();
            change(&mut collateral);
            assert!(collateral != sample.collateral, "{part} is changed");
            assert_eq!(code(quote.verify(&collateral, NOW)), "not_genuine", "{:?} {part}", sample.tee);
        }
    }
    // The ninth part, pck_crl_issuer_chain, decides nothing: the list has to be signed by the issuer of the certificate
    // that it is about.
    let crossed = Quote::read(sgx().bytes).unwrap().verify(&tdx().collateral, NOW);
    assert_eq!(code(crossed), "not_genuine");
}

#[test]
fn what_is_no_quote_is_told_apart_from_a_forged_one() {
    let sample = sgx();
    for bytes in [Vec::new(), vec![0; 64], b"no quote at all".repeat(100), vec![0; 70_000]] {
        assert!(Quote::read(bytes).is_err());
    }
    for length in [0, 47, 48, 431, 432, 436, 1000, sample.bytes.len() - 1] {
        assert!(Quote::read(sample.bytes[..length].to_vec()).is_err(), "cut to {length}");
    }
    let mut version = sample.bytes.clone();
    version[0] = 7;
    assert!(Quote::read(version).is_err());
    let followed = [sample.bytes.as_slice(), b"more"].concat();
    assert!(Quote::read(followed).is_err());
    let padded = [sample.bytes.as_slice(), &[0; 32]].concat();
    assert!(Quote::read(padded).unwrap().verify(&sample.collateral, NOW).is_ok());
}

/// The word that a rule refuses with, and an expectation that has the rule.
type Rule = (&'static str, Expectation);

/// The codes of a judgement.
fn judged(quote: &Genuine, expectation: &Expectation) -> Vec<String> {
    expectation.judge(quote, None).into_iter().map(|reason| reason.code.into_owned()).collect()
}

#[test]
fn each_rule_of_an_expectation_is_kept() {
    let (sgx, tdx) = (sgx().genuine(), tdx().genuine());
    let lenient = || Expectation {
        accepted_tcb_status: vec!["UpToDate".to_owned(), "ConfigurationAndSWHardeningNeeded".to_owned()],
        ..Expectation::default()
    };
    assert_eq!(judged(&sgx, &lenient()), [""; 0]);
    assert_eq!(judged(&tdx, &Expectation::default()), [""; 0]);
    assert_eq!(judged(&sgx, &Expectation::default()), ["tcb_status"], "only UpToDate unless said otherwise");

    let other = |length: usize| vec!["ab".repeat(length)];
    let own = |text: &Option<String>| vec!["00".repeat(32), text.clone().unwrap().to_uppercase()];
    let enclave = &sgx.measurements;
    let kept = [
        Expectation { mr_enclave: own(&enclave.mr_enclave), ..lenient() },
        Expectation { mr_signer: own(&enclave.mr_signer), ..lenient() },
        Expectation { isv_prod_id: Some(0), min_isv_svn: Some(0), ..lenient() },
        Expectation { rejected_advisories: vec!["INTEL-SA-00001".to_owned()], ..lenient() },
        Expectation { min_tcb_evaluation_data_number: Some(enclave.tcb_evaluation_data_number), ..lenient() },
    ];
    for expectation in kept {
        expectation.check().unwrap();
        assert_eq!(judged(&sgx, &expectation), [""; 0], "{expectation:?}");
    }
    let broken: [Rule; 12] = [
        ("mr_enclave", Expectation { mr_enclave: other(32), ..lenient() }),
        ("mr_signer", Expectation { mr_signer: other(32), ..lenient() }),
        ("isv_prod_id", Expectation { isv_prod_id: Some(1), ..lenient() }),
        ("isv_svn", Expectation { min_isv_svn: Some(1), ..lenient() }),
        ("advisory", Expectation { rejected_advisories: vec!["INTEL-SA-00615".to_owned()], ..lenient() }),
        ("tcb_evaluation", Expectation { min_tcb_evaluation_data_number: Some(1000), ..lenient() }),
        ("tcb_status", Expectation { accepted_tcb_status: vec!["OutOfDate".to_owned()], ..lenient() }),
        // A trust domain's rules refuse an enclave's quote.
        ("mr_td", Expectation { mr_td: other(48), ..lenient() }),
        ("rtmr0", Expectation { rtmr0: other(48), ..lenient() }),
        ("rtmr1", Expectation { rtmr1: other(48), ..lenient() }),
        ("rtmr2", Expectation { rtmr2: other(48), ..lenient() }),
        ("rtmr3", Expectation { rtmr3: other(48), ..lenient() }),
    ];
    for (rule, expectation) in &broken {
        expectation.check().unwrap();
        assert_eq!(judged(&sgx, expectation), [*rule]);
        if rule.starts_with("mr_") || rule.starts_with("rtmr") || rule.starts_with("isv") {
            assert_eq!(judged(&tdx, expectation), [*rule], "of the other kind, or another value");
        }
    }
    let rtmr = |index: usize| vec![tdx.measurements.rtmr[index].clone()];
    let all = Expectation {
        mr_td: vec![tdx.measurements.mr_td.clone().unwrap()],
        rtmr0: rtmr(0),
        rtmr1: rtmr(1),
        rtmr2: rtmr(2),
        rtmr3: rtmr(3),
        ..Expectation::default()
    };
    assert_eq!(judged(&tdx, &all), [""; 0]);
}

#[test]
fn report_data_are_compared_whole() {
    let quote = sgx().genuine();
    let any = Expectation { accepted_tcb_status: vec![quote.tcb_status.clone()], ..Expectation::default() };
    let judge = |bytes: &[u8]| any.judge(&quote, padded(bytes).as_ref()).len();
    assert_eq!(judge(b"Hello, world!"), 0);
    for other in [b"Hello, world".as_slice(), b"Hello, world!!", b"", b"hello, world!"] {
        assert_eq!(judge(other), 1, "{other:?}");
    }
    assert_eq!(any.judge(&quote, Some(&answer_to(b"Hello, world!")))[0].code, "report_data");
}

#[test]
fn an_expectation_that_no_quote_could_meet_is_refused() {
    let default = Expectation::default;
    let impossible = [
        ("/policy/mrEnclave", Expectation { mr_enclave: vec!["ab".repeat(31)], ..default() }),
        ("/policy/mrEnclave", Expectation { mr_enclave: vec!["ab".repeat(32), "x".repeat(64)], ..default() }),
        ("/policy/mrSigner", Expectation { mr_signer: vec![String::new()], ..default() }),
        ("/policy/mrTd", Expectation { mr_td: vec!["ab".repeat(32)], ..default() }),
        ("/policy/rtmr3", Expectation { rtmr3: vec!["ab".repeat(48); 65], ..default() }),
        ("/policy/acceptedTcbStatus", Expectation { accepted_tcb_status: Vec::new(), ..default() }),
        (
            "/policy/acceptedTcbStatus",
            Expectation { accepted_tcb_status: vec!["Revoked".to_owned()], ..default() },
        ),
        (
            "/policy/acceptedTcbStatus",
            Expectation { accepted_tcb_status: vec!["uptodate".to_owned()], ..default() },
        ),
    ];
    for (pointer, expectation) in impossible {
        assert_eq!(expectation.check().unwrap_err().pointer, pointer);
    }
}

#[test]
fn a_collateral_says_for_which_platforms_it_is() {
    for (sample, other) in [(sgx(), tdx()), (tdx(), sgx())] {
        let quote = Quote::read(sample.bytes.clone()).unwrap();
        let (fmspc, authority) = quote.platform().unwrap();
        assert!(
            covers(&sample.collateral, sample.tee, &fmspc) && ["processor", "platform"].contains(&authority)
        );
        assert!(!covers(&other.collateral, sample.tee, &fmspc));
        assert!(!covers(&sample.collateral, other.tee, &fmspc));
        assert!(!covers(&sample.collateral, sample.tee, "000000000000"));
        assert_eq!(sample.genuine().measurements.fmspc, fmspc.to_lowercase());
    }
}
