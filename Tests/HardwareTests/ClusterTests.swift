// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Testing

@testable import Hardware

@Suite struct ClusterTests {
  @Test func takesTheFirstInFileOrder() throws {
    let whole = try decode(threeLevels).cluster()
    let ten = try whole.taking(devices: 10)
    #expect(ten.nodeOfDevice == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    #expect(ten == (try decode(threeLevels).cluster(devices: 10)))
    #expect(throws: HardwareError.tooManyDevices(cluster: "three", requested: 25, available: 24)) { try whole.taking(devices: 25) }
    #expect(throws: HardwareError.tooManyDevices(cluster: "three", requested: 25, available: 24)) { try decode(threeLevels).cluster(devices: 25) }
  }

  @Test func anyExtends() throws {
    let file = try hardwareFile("dgx-a100.json")
    #expect(throws: HardwareError.deviceCountNeeded(cluster: "dgx-a100")) { try file.cluster() }
    let cluster = try file.cluster(devices: 3072)
    #expect(cluster.nodeCount == 384)
    #expect(cluster.unitOfDevice[1].allSatisfy { $0 == 0 })
    #expect(throws: HardwareError.self) { try file.cluster(devices: HardwareFile.deviceLimit + 1) }
    #expect(try hardwareFile("local.json").cluster(devices: 6).nodeCount == 1)
  }

  @Test func kindsInReverseOrder() throws {
    let file = try hardwareFile("mixed-a100-v100.json")
    let reversed = try #require(file.reversed(devices: 32))
    let (first, last) = (try file.cluster(devices: 32), try reversed.cluster(devices: 32))
    #expect(last.kindOfDevice == first.kindOfDevice.reversed() && last.nodeCount == 4)
    // Each kind keeps the links inside its nodes.
    #expect(last.level(0, of: 0) == first.level(0, of: 31) && last.level(0, of: 31) == first.level(0, of: 0))
    // One kind alone has no other order, and no node is cut; levels that join a fixed number of nodes must find them.
    #expect(file.reversed(devices: 16) == nil && file.reversed(devices: 20) == nil && file.reversed(devices: 24) == nil)
    #expect(try hardwareFile("dgx-a100.json").reversed(devices: 16) == nil)
  }

  @Test func coordinates() throws {
    let cluster = try decode(threeLevels).cluster()
    #expect(cluster.coordinates(of: 0) == [0, 0, 0, 0])
    #expect(cluster.coordinates(of: 7) == [0, 0, 1, 3])
    #expect(cluster.coordinates(of: 12) == [0, 1, 0, 0])
    #expect(cluster.coordinates(of: 23) == [0, 1, 2, 3])
    #expect(cluster.levelJoining(4, 7) == 0)
    #expect(cluster.levelJoining(3, 4) == 1)
    #expect(cluster.levelJoining(11, 12) == 2)
  }

  @Test func mixedKindsKeepTheirOwnLevels() throws {
    let cluster = try hardwareFile("mixed-a100-v100.json").cluster()
    #expect(cluster.deviceCount == 32 && !cluster.isUniform)
    #expect(cluster.kind(of: 15).name == "a100-40" && cluster.kind(of: 16).name == "v100-16")
    #expect(cluster.level(0, of: 0).bandwidth == .gigabytesPerSecond(300))
    #expect(cluster.level(0, of: 31).bandwidth == .gigabytesPerSecond(150))
    #expect(cluster.usableMemory(of: 31) == .gibibytes(15))
    // An axis over all nodes is as fast as the slower kind.
    let mesh = Mesh(shape: [4, 8])
    #expect(cluster.placement(ofAxis: 1, in: mesh).steps[0].bandwidth == .gigabytesPerSecond(150) * 0.9)
  }

  @Test func meshCoordinates() {
    let mesh = Mesh(shape: [2, 3, 4], firstDevice: 100)
    #expect(mesh.devices == 100..<124)
    #expect((0..<3).map { mesh.stride(of: $0) } == [12, 4, 1])
    #expect(mesh.coordinates(of: 117) == [1, 1, 1])
    for device in mesh.devices { #expect(mesh.device(at: mesh.coordinates(of: device)) == device) }
    #expect(mesh.groups(along: [1]).prefix(2) == [[100, 104, 108], [101, 105, 109]])
    #expect(mesh.groups(along: [2, 0])[1] == [104, 105, 106, 107, 116, 117, 118, 119])
    #expect(mesh.groups(along: []).count == 24)
  }

  @Test func meshShapes() {
    #expect(Mesh.shapes(devices: 1) == [[1]])
    #expect(Mesh.shapes(devices: 8) == [[2, 2, 2], [2, 4], [4, 2], [8]])
    #expect(Mesh.shapes(devices: 12, maximumAxes: 2) == [[2, 6], [3, 4], [4, 3], [6, 2], [12]])
    #expect(Mesh.shapes(devices: 7) == [[7]])
  }
}
