// SPDX-License-Identifier: GPL-3.0-or-later

extension Communicator {
  /// Starts to send `count` elements to `rank` and returns at once (MPI_Isend).
  /// - Parameters:
  ///   - buffer: must stay as it is until the request is complete.
  ///   - tag: 0 … 32767, the range every MPI has; matches the receiver's.
  /// - Throws: `messageTooLong` for more than 2^31 − 1 elements.
  package func send<Scalar: MPIScalar>(
    _ buffer: UnsafePointer<Scalar>, count: Int, to rank: Int, tag: Int
  ) throws(ExecutionError) -> Request {
    let bytes = count * MemoryLayout<Scalar>.stride
    let transfer = ledger.beginTransfer(bytes: bytes)
    let request = Request(try MPILibrary.send(buffer, count: count, to: rank, tag: tag, Scalar.datatype, handle), ledger, transfer: transfer)
    self.count(.sendReceive, bytes: bytes)
    return request
  }

  /// Starts to receive `count` elements from `rank` and returns at once (MPI_Irecv).
  /// - Parameter buffer: must not be touched until the request is complete.
  /// - Throws: as `send` does; a longer message than `count` is an error of the request's `wait`.
  package func receive<Scalar: MPIScalar>(
    _ buffer: UnsafeMutablePointer<Scalar>, count: Int, from rank: Int, tag: Int
  ) throws(ExecutionError) -> Request {
    Request(try MPILibrary.receive(buffer, count: count, from: rank, tag: tag, Scalar.datatype, handle), ledger)
  }
}

/// A transfer in flight.
///
/// It should be waited for. One that is dropped while an error is thrown is left to MPI (MPI_Request_free): waiting there
/// could last for ever, and the process is about to end the run.
package struct Request: ~Copyable {
  private var handle: MPILibrary.RequestHandle
  /// The rank's ledger, which lives as long as its communicators.
  private let ledger: Unmanaged<TrafficLedger>
  /// The number of what is sent in a step that is recorded.
  private let transfer: Int?

  init(_ handle: MPILibrary.RequestHandle, _ ledger: TrafficLedger, transfer: Int? = nil) {
    self.init(handle, Unmanaged.passUnretained(ledger), transfer: transfer)
  }

  private init(_ handle: MPILibrary.RequestHandle, _ ledger: Unmanaged<TrafficLedger>, transfer: Int?) {
    (self.handle, self.ledger, self.transfer) = (handle, ledger, transfer)
  }

  deinit {
    if MPILibrary.isRunning { MPILibrary.freeRequest(handle) }
  }

  /// Returns when the buffer may be used again: sent from, or filled (MPI_Wait).
  package consuming func wait() throws(ExecutionError) {
    let (handle, ledger, transfer) = (handle, ledger, transfer)
    discard self
    let start = MonotonicClock.now
    try MPILibrary.wait(handle)
    ledger._withUnsafeGuaranteedRef {
      $0.addTime(since: start)
      $0.endTransfer(transfer)
    }
  }

  /// Returns nil when the buffer may be used again, and the request itself while the transfer is under way (MPI_Test).
  package consuming func test() throws(ExecutionError) -> Request? {
    let (handle, ledger, transfer) = (handle, ledger, transfer)
    discard self
    guard try MPILibrary.test(handle) else { return Request(handle, ledger, transfer: transfer) }
    ledger._withUnsafeGuaranteedRef { $0.endTransfer(transfer) }
    return nil
  }
}

/// Transfers in flight, waited for together.
package struct RequestList: ~Copyable {
  private var first: Node?

  private final class Node {
    var request: Request?
    let next: Node?

    init(_ request: consuming Request, next: Node?) {
      self.request = consume request
      self.next = next
    }
  }

  package init() {}

  package mutating func append(_ request: consuming Request) { first = Node(request, next: first) }

  /// Waits for every transfer; the list is empty afterwards. The order does not matter: MPI progresses all of them.
  package mutating func waitAll() throws(ExecutionError) {
    while let node = first {
      first = node.next
      if let request = node.request.take() { try request.wait() }
    }
  }
}
