// SPDX-License-Identifier: GPL-3.0-or-later
import CZlib

/// Decompression of gzip files (RFC 1952), by zlib.
enum Gzip {
  static func isGzip(_ bytes: [UInt8]) -> Bool { bytes.starts(with: [0x1f, 0x8b]) }

  /// All members of a gzip file, one after the other (`inflate`).
  /// - Parameter limit: the most bytes that are given out.
  /// - Throws: `ShardingProblemError.compression`, `.tooLarge`.
  static func decompressed(_ compressed: [UInt8], file: String, limit: Int) throws(ShardingProblemError) -> [UInt8] {
    var stream = z_stream()
    guard czlib_inflate_init_gzip(&stream) == Z_OK else { throw .compression(file: file, offset: 0, reason: "zlib cannot start") }
    defer { inflateEnd(&stream) }
    var output: [UInt8] = []
    // Problems shrink twenty- to sixtyfold.
    output.reserveCapacity(min(limit, compressed.count * 24))
    let chunk = 1 << 20
    var position = 0
    var status = Z_OK
    while true {
      if status == Z_STREAM_END {
        // Another member may follow; zeros after the last one are padding.
        guard position < compressed.count, compressed[position] != 0 else { return output }
        inflateReset(&stream)
        status = Z_OK
      }
      guard position < compressed.count else {
        throw .compression(file: file, offset: position, reason: "the file ends in the middle of the compressed data; copy it again")
      }
      let before = position
      let written = output.count
      let piece = min(compressed.count - position, 1 << 30)
      let grown = [UInt8](unsafeUninitializedCapacity: chunk) { buffer, count in
        compressed.withUnsafeBufferPointer { input in
          stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress! + before)
          stream.avail_in = UInt32(piece)
          stream.next_out = buffer.baseAddress
          stream.avail_out = UInt32(chunk)
          status = inflate(&stream, Z_NO_FLUSH)
          count = chunk - Int(stream.avail_out)
        }
      }
      position += piece - Int(stream.avail_in)
      output += grown
      guard output.count <= limit else { throw .tooLarge(file: file, limit: limit) }
      let hasMoved = position > before || output.count > written
      guard status == Z_STREAM_END || (status == Z_OK || status == Z_BUF_ERROR) && hasMoved else {
        let reason = stream.msg.map { String(cString: $0) } ?? "zlib's inflate gave up with code \(status)"
        throw .compression(file: file, offset: position, reason: "\(reason); the file is damaged, copy it again")
      }
    }
  }
}
