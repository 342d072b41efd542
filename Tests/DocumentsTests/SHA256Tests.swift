// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Documents

/// Oracle: examples of NIST (FIPS 180-4 example file and the CAVP short-message vectors).
@Suite struct SHA256Tests {
  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
    (
      "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
    ),
  ])
  func text(message: String, digest: String) {
    #expect(SHA256.hexadecimal(of: message.utf8) == digest)
  }

  @Test func bytes() {
    #expect(SHA256.hexadecimal(of: [0xbd]) == "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b")
    #expect(SHA256.hexadecimal(of: [0xc9, 0x8c, 0x8e, 0x55]) == "7abc22c0ae5af26ce93dbb94433a0e0b2e119d014f8e7f65bd56c61ccccd9504")
    // Lengths at which the padding fills a block exactly, and spills into another.
    #expect(SHA256.hexadecimal(of: repeatElement(0, count: 55)) == "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7")
    #expect(SHA256.hexadecimal(of: repeatElement(0, count: 56)) == "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb")
    #expect(SHA256.hexadecimal(of: repeatElement(0, count: 64)) == "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b")
  }

  @Test func pieces() {
    var hash = SHA256()
    for start in stride(from: 0, to: 1000, by: 7) { hash.update((start..<min(start + 7, 1000)).map { UInt8($0 % 251) }) }
    var whole = SHA256()
    whole.update((0..<1000).map { UInt8($0 % 251) })
    #expect(hash.finalize() == whole.finalize())
  }
}
