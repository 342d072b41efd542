// SPDX-License-Identifier: GPL-3.0-or-later
import CMPI

/// MPI as it is called from Swift: the only file that imports it.
///
/// Each function stands for the C function that its comment or its error names. Counts and ranks are checked to fit
/// MPI's `int`; a return other than MPI_SUCCESS becomes `ExecutionError.mpi`.
enum MPILibrary {
  typealias Comm = MPI_Comm
  typealias Datatype = MPI_Datatype
  typealias Operation = MPI_Op
  typealias RequestHandle = MPI_Request

  static var world: Comm { cmpi_comm_world() }
  static var sum: Operation { cmpi_sum() }
  static var max: Operation { cmpi_max() }
  static var inPlace: UnsafeRawPointer? { cmpi_in_place() }
  static var noRequest: RequestHandle { cmpi_request_null() }

  // MARK: Process

  /// MPI_Init_thread with MPI_THREAD_FUNNELED: only the thread that starts MPI calls it. After it, errors in every
  /// communicator are returned, not fatal: derived communicators inherit the handler.
  static func start() throws(ExecutionError) {
    var provided: Int32 = 0
    try check("MPI_Init_thread", MPI_Init_thread(nil, nil, Int32(MPI_THREAD_FUNNELED), &provided))
    try check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(world, cmpi_errors_return()))
  }

  static func finish() throws(ExecutionError) { try check("MPI_Finalize", MPI_Finalize()) }

  /// Whether MPI_Init has been called and MPI_Finalize has not: both of these may be asked at any time.
  static var isRunning: Bool {
    var started: Int32 = 0
    var finished: Int32 = 0
    MPI_Initialized(&started)
    MPI_Finalized(&finished)
    return started != 0 && finished == 0
  }

  static func abort(_ code: Int32) { MPI_Abort(world, code) }

  static func processorName() throws(ExecutionError) -> String {
    var name = [CChar](repeating: 0, count: Int(MPI_MAX_PROCESSOR_NAME) + 1)
    var length: Int32 = 0
    try check("MPI_Get_processor_name", MPI_Get_processor_name(&name, &length))
    return text(name, length)
  }

  /// Name and version of the library: the first line, or what comes before the first comma, of what it says of itself (MPI_Get_library_version).
  static func version() throws(ExecutionError) -> String {
    var name = [CChar](repeating: 0, count: Int(MPI_MAX_LIBRARY_VERSION_STRING) + 1)
    var length: Int32 = 0
    try check("MPI_Get_library_version", MPI_Get_library_version(&name, &length))
    return text(name, length).split(whereSeparator: { $0 == "," || $0 == "\n" }).first.map(String.init) ?? ""
  }

  // MARK: Communicators

  static func rank(_ comm: Comm) throws(ExecutionError) -> Int {
    var rank: Int32 = 0
    try check("MPI_Comm_rank", MPI_Comm_rank(comm, &rank))
    return Int(rank)
  }

  static func size(_ comm: Comm) throws(ExecutionError) -> Int {
    var size: Int32 = 0
    try check("MPI_Comm_size", MPI_Comm_size(comm, &size))
    return Int(size)
  }

  static func split(_ comm: Comm, color: Int32, key: Int32) throws(ExecutionError) -> Comm {
    var result: Comm? = nil
    try check("MPI_Comm_split", MPI_Comm_split(comm, color, key, &result))
    return result ?? cmpi_comm_null()
  }

  /// The ranks of `comm` that can share memory with this one.
  static func splitByNode(_ comm: Comm) throws(ExecutionError) -> Comm {
    var result: Comm? = nil
    try check("MPI_Comm_split_type", MPI_Comm_split_type(comm, Int32(MPI_COMM_TYPE_SHARED), 0, cmpi_info_null(), &result))
    return result ?? cmpi_comm_null()
  }

  static func freeCommunicator(_ comm: Comm) {
    var comm: Comm? = comm
    MPI_Comm_free(&comm)
  }

  static func barrier(_ comm: Comm) throws(ExecutionError) { try check("MPI_Barrier", MPI_Barrier(comm)) }

  // MARK: Collectives

  static func allReduce(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ type: Datatype, _ operation: Operation, _ comm: Comm
  ) throws(ExecutionError) {
    let count = try int("MPI_Allreduce", count)
    try check("MPI_Allreduce", MPI_Allreduce(inPlace, buffer, count, type, operation, comm))
  }

  static func allGather(
    _ part: UnsafeRawPointer?, count: Int, into result: UnsafeMutableRawPointer, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    let count = try int("MPI_Allgather", count)
    try check("MPI_Allgather", MPI_Allgather(part, count, type, result, count, type, comm))
  }

  static func allGather(
    _ part: UnsafeRawPointer?, count: Int, into result: UnsafeMutableRawPointer, blocks: Blocks, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    let count = try int("MPI_Allgatherv", count)
    try check("MPI_Allgatherv", MPI_Allgatherv(part, count, type, result, blocks.counts, blocks.starts, type, comm))
  }

  static func reduceScatter(
    _ full: UnsafeRawPointer?, count: Int, into part: UnsafeMutableRawPointer, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    let count = try int("MPI_Reduce_scatter_block", count)
    try check("MPI_Reduce_scatter_block", MPI_Reduce_scatter_block(full, part, count, type, sum, comm))
  }

  static func reduceScatter(
    _ full: UnsafeRawPointer?, into part: UnsafeMutableRawPointer, blocks: Blocks, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    try check("MPI_Reduce_scatter", MPI_Reduce_scatter(full, part, blocks.counts, type, sum, comm))
  }

  static func allToAll(
    _ sent: UnsafeRawPointer, blocks sentBlocks: Blocks, into received: UnsafeMutableRawPointer, blocks receivedBlocks: Blocks,
    _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    try check(
      "MPI_Alltoallv",
      MPI_Alltoallv(
        sent, sentBlocks.counts, sentBlocks.starts, type, received, receivedBlocks.counts, receivedBlocks.starts, type, comm))
  }

  /// `count` elements for each rank.
  static func allToAll(
    _ sent: UnsafeRawPointer, count: Int, into received: UnsafeMutableRawPointer, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    let count = try int("MPI_Alltoall", count)
    try check("MPI_Alltoall", MPI_Alltoall(sent, count, type, received, count, type, comm))
  }

  static func broadcast(
    _ bytes: UnsafeMutableRawPointer?, count: Int, root: Int, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    try check("MPI_Bcast", MPI_Bcast(bytes, try int("MPI_Bcast", count), type, Int32(root), comm))
  }

  /// `blocks` matters at the root only.
  static func gather(
    _ bytes: UnsafeRawPointer?, count: Int, into all: UnsafeMutableRawPointer?, blocks: Blocks, root: Int, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) {
    let count = try int("MPI_Gatherv", count)
    try check("MPI_Gatherv", MPI_Gatherv(bytes, count, type, all, blocks.counts, blocks.starts, type, Int32(root), comm))
  }

  // MARK: Point to point

  static func send(
    _ buffer: UnsafeRawPointer, count: Int, to rank: Int, tag: Int, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) -> RequestHandle {
    var request: RequestHandle? = nil
    let (count, tag) = (try int("MPI_Isend", count), try int("MPI_Isend", tag))
    try check("MPI_Isend", MPI_Isend(buffer, count, type, Int32(rank), tag, comm, &request))
    return request ?? noRequest
  }

  static func receive(
    _ buffer: UnsafeMutableRawPointer, count: Int, from rank: Int, tag: Int, _ type: Datatype, _ comm: Comm
  ) throws(ExecutionError) -> RequestHandle {
    var request: RequestHandle? = nil
    let (count, tag) = (try int("MPI_Irecv", count), try int("MPI_Irecv", tag))
    try check("MPI_Irecv", MPI_Irecv(buffer, count, type, Int32(rank), tag, comm, &request))
    return request ?? noRequest
  }

  static func wait(_ request: RequestHandle) throws(ExecutionError) {
    var request: RequestHandle? = request
    try check("MPI_Wait", MPI_Wait(&request, cmpi_status_ignore()))
  }

  /// Whether `request` is complete. A complete request is freed: it must not be asked again.
  static func test(_ request: RequestHandle) throws(ExecutionError) -> Bool {
    var request: RequestHandle? = request
    var complete: Int32 = 0
    try check("MPI_Test", MPI_Test(&request, &complete, cmpi_status_ignore()))
    return complete != 0
  }

  static func freeRequest(_ request: RequestHandle) {
    var request: RequestHandle? = request
    MPI_Request_free(&request)
  }

  /// Lets MPI work on transfers in flight, as any call does that looks for messages (MPI_Iprobe). Its error, if it has
  /// one, is that of the transfer's own wait.
  static func progress(_ comm: Comm) {
    var found: Int32 = 0
    MPI_Iprobe(cmpi_any_source(), cmpi_any_tag(), comm, &found, cmpi_status_ignore())
  }

  // MARK: Errors

  private static func check(_ function: String, _ code: Int32) throws(ExecutionError) {
    guard code != MPI_SUCCESS else { return }
    var name = [CChar](repeating: 0, count: Int(MPI_MAX_ERROR_STRING) + 1)
    var length: Int32 = 0
    MPI_Error_string(code, &name, &length)
    throw .mpi(function: function, code: code, message: text(name, length))
  }

  private static func int(_ function: String, _ value: Int) throws(ExecutionError) -> Int32 {
    guard let value = Int32(exactly: value) else { throw .messageTooLong(function: function, elements: value) }
    return value
  }

  private static func text(_ characters: [CChar], _ length: Int32) -> String {
    String(decoding: characters.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

/// The parts of a buffer that belong to ranks 0, 1, …, one after another: MPI's counts and displacements, in elements.
struct Blocks {
  let counts: [Int32]
  let starts: [Int32]
  let total: Int

  /// - Throws: `messageTooLong` where the buffer has more than 2^31 − 1 elements, since MPI's displacements are `int`.
  init(_ counts: [Int], in function: String) throws(ExecutionError) {
    var total = 0
    for count in counts {
      precondition(count >= 0, "\(function): a block cannot have \(count) elements")
      total += count
    }
    guard total <= Int(Int32.max) else { throw .messageTooLong(function: function, elements: total) }
    var start: Int32 = 0
    self.starts = counts.map { count in
      defer { start += Int32(count) }
      return start
    }
    self.counts = counts.map { Int32($0) }
    self.total = total
  }

  /// For calls in which only the root names the blocks.
  static let none = Blocks()

  private init() { (counts, starts, total) = ([], [], 0) }
}

/// An element that MPI can carry and, for all but bytes, add.
package protocol MPIScalar: BitwiseCopyable {}

extension MPIScalar {
  static var datatype: MPILibrary.Datatype {
    switch self {
    case is Float.Type: cmpi_float()
    case is Double.Type: cmpi_double()
    case is Int32.Type: cmpi_int32()
    case is UInt8.Type: cmpi_byte()
    default: preconditionFailure("\(self) has no MPI datatype")
    }
  }
}

extension Float: MPIScalar {}
extension Double: MPIScalar {}
extension Int32: MPIScalar {}
extension UInt8: MPIScalar {}
