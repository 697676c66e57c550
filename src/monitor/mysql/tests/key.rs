//! A key pair of 1,024 bits, made with `openssl genrsa 1024` for these tests alone.

use num_bigint::BigUint;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

pub(super) const PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDRnmrOuDAiXQGNhNHThycvmFFG\n\
luIb8waLJ7AC3o5pHAe833fm/qNAR6DW4x1odr+KGGwxZfc1G0tpfc6KwW15YCyJ\n\
331WLKGT5k1DMOgAEf1+NL5H+R+t5zHtr2gf/McSzJwmA5r6Ca8trhWPsn2iT28I\n\
w3HwZV0tF2BHYQnBWQIDAQAB\n\
-----END PUBLIC KEY-----\n";

/// Hexadecimal.
const MODULUS: &[u8] = b"\
    d19e6aceb830225d018d84d1d387272f98514696e21bf3068b27b002de8e691c07bcdf77e6fea340\
    47a0d6e31d6876bf8a186c3165f7351b4b697dce8ac16d79602c89df7d562ca193e64d4330e80011\
    fd7e34be47f91fade731edaf681ffcc712cc9c26039afa09af2dae158fb27da24f6f08c371f0655d\
    2d1760476109c159";
const PRIVATE: &[u8] = b"\
    3f56ea193ac8b8a977dda663acd22b0213b98365f63ed1c98964dda7904e61ee695c25fe5a1b5983\
    03e1d2ecdfa70032d26c9cccb46de56b30f7585f7fc800e6df29c1f835c80e108266461345c3f78b\
    f25bd0a5f054034c4d20a03faed94fabc5aa87bfd23c865a6dcda14bc9cc4accba17c7b0c8e8fae6\
    13cffb1f5098bc81";

fn number(hexadecimal: &[u8]) -> BigUint {
    BigUint::parse_bytes(hexadecimal, 16).unwrap()
}

fn masked(bytes: &[u8], seed: &[u8]) -> Vec<u8> {
    let piece = |n: u32| {
        digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            &[seed, &n.to_be_bytes()].concat(),
        )
    };
    let mask = (0..).flat_map(|n| piece(n).as_ref().to_vec());
    bytes.iter().zip(mask).map(|(a, b)| a ^ b).collect()
}

/// Opens what was sealed with OAEP, as the owner of the key does.
pub(super) fn open(sealed: &[u8]) -> Vec<u8> {
    assert_eq!(sealed.len(), 128);
    let opened = BigUint::from_bytes_be(sealed).modpow(&number(PRIVATE), &number(MODULUS));
    let opened = opened.to_bytes_be();
    let padded = [vec![0; 128 - opened.len()], opened].concat();
    assert_eq!(padded[0], 0);
    let (seed, block) = padded[1..].split_at(20);
    let seed = masked(seed, block);
    let block = masked(block, &seed);
    let label = digest(&SHA1_FOR_LEGACY_USE_ONLY, b"");
    let text = block.strip_prefix(label.as_ref()).unwrap();
    let begins = text.iter().position(|byte| *byte != 0).unwrap();
    assert_eq!(text[begins], 1);
    text[begins + 1..].to_vec()
}
