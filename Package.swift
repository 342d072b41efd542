// swift-tools-version: 6.1
// SPDX-License-Identifier: GPL-3.0-or-later
import PackageDescription

// Element-wise and attention kernels are written with SIMD types. x86-64-v3 (AVX2 and FMA, every x86 server since
// 2013) doubles their vectors and makes a fused multiply-add one instruction; `tpplan run` refuses older processors.
#if arch(x86_64)
  let vectorSettings: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]
  let kernelSettings: [SwiftSetting] = [
    .unsafeFlags(["-Ounchecked", "-Xcc", "-march=x86-64-v3"], .when(configuration: .release)),
    .unsafeFlags(["-Xcc", "-march=x86-64-v3"], .when(configuration: .debug)),
  ]
#else
  let vectorSettings: [SwiftSetting] = []
  let kernelSettings: [SwiftSetting] = [.unsafeFlags(["-Ounchecked"], .when(configuration: .release))]
#endif

// Searches ask millions of times for what their objects hold. That no two accesses to one overlap is checked where the tests run, in debug
// builds.
let searchSettings: [SwiftSetting] = [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

let package = Package(
  name: "tpplan",
  products: [
    .executable(name: "tpplan", targets: ["tpplan"])
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
  ],
  targets: [
    // GLPK has no pkg-config file; the module map links it.
    .systemLibrary(name: "CGLPK", providers: [.apt(["libglpk-dev"])]),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev"])]),

    .target(name: "Quantities"),
    .target(name: "Documents"),
    .target(name: "ModelGraph", dependencies: ["Quantities", "Documents"]),
    .target(name: "Hardware", dependencies: ["Quantities", "Documents"]),
    .target(name: "Strategies", dependencies: ["Quantities", "ModelGraph", "Hardware"], swiftSettings: searchSettings),
    .target(name: "CostModel", dependencies: ["Quantities", "ModelGraph", "Hardware", "Strategies"], swiftSettings: searchSettings),
    .target(name: "Search", dependencies: ["Quantities", "CGLPK"], swiftSettings: vectorSettings + searchSettings),
    .target(name: "ShardingProblems", dependencies: ["Documents", "Search", "CZlib"]),
    .target(name: "Plans", dependencies: ["Quantities", "Documents", "ModelGraph", "Hardware", "Strategies"]),
    .target(name: "Lowering", dependencies: ["Quantities", "ModelGraph", "Hardware", "Strategies", "Plans"]),
    .target(
      name: "Planner",
      dependencies: [
        "Quantities", "Documents", "ModelGraph", "Hardware", "Strategies", "CostModel", "Search", "Plans", "Lowering",
        .product(name: "HeapModule", package: "swift-collections"),
      ], swiftSettings: searchSettings),
    .target(
      name: "Report",
      dependencies: [
        "Quantities", "Documents", "ModelGraph", "Hardware", "Strategies", "Plans", "Lowering", "Planner",
      ]),
    .target(
      name: "Validation",
      dependencies: ["Quantities", "Documents", "ModelGraph", "Hardware", "Strategies", "Plans", "Planner"]),
    .target(name: "Kernels", dependencies: ["COpenBLAS"], swiftSettings: kernelSettings),
    .target(
      name: "Execution",
      dependencies: [
        "Quantities", "Documents", "ModelGraph", "Hardware", "Strategies", "Plans", "Lowering", "Kernels", "CMPI",
      ]),
    .executableTarget(
      name: "tpplan",
      dependencies: [
        "Quantities", "Documents", "ModelGraph", "Hardware", "Strategies", "CostModel", "Search", "Plans", "Lowering",
        "Planner", "Report", "Execution", "ShardingProblems", "Validation", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .executableTarget(name: "KernelBenchmark", dependencies: ["Kernels"], path: "Benchmarks/KernelBenchmark"),

    // What tests of several modules share.
    .target(name: "TestSupport", path: "Tests/TestSupport"),
    .testTarget(name: "DocumentsTests", dependencies: ["Documents", "TestSupport"]),
    .testTarget(name: "ModelGraphTests", dependencies: ["ModelGraph", "Documents", "TestSupport"]),
    .testTarget(name: "HardwareTests", dependencies: ["Hardware", "Documents", "Quantities"]),
    .testTarget(
      name: "StrategiesTests", dependencies: ["Strategies", "ModelGraph", "Hardware", "Quantities", "Documents", "TestSupport"]),
    .testTarget(
      name: "CostModelTests",
      dependencies: ["CostModel", "Strategies", "ModelGraph", "Hardware", "Quantities", "Documents", "TestSupport"]),
    .testTarget(
      name: "LoweringTests",
      dependencies: ["Lowering", "Planner", "Plans", "Strategies", "CostModel", "ModelGraph", "Hardware", "Quantities", "Documents", "TestSupport"]),
    .testTarget(name: "SearchTests", dependencies: ["Search", "Quantities", "TestSupport"]),
    .testTarget(
      name: "ShardingProblemsTests",
      dependencies: [
        "ShardingProblems", "Search", "Documents", "CZlib", "TestSupport", "tpplan",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .testTarget(
      name: "ValidationTests",
      dependencies: [
        "Validation", "Planner", "Plans", "CostModel", "Strategies", "ModelGraph", "Hardware", "Documents", "Quantities", "TestSupport", "tpplan",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      exclude: ["Golden"]),
    .testTarget(name: "KernelsTests", dependencies: ["Kernels", "TestSupport"]),
    .testTarget(
      name: "PlansTests",
      dependencies: [
        "Plans", "Planner", "Lowering", "Strategies", "ModelGraph", "Hardware", "Documents", "Quantities", "Report", "TestSupport", "tpplan",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      exclude: ["Golden"]),
    .testTarget(
      name: "ReportTests",
      dependencies: [
        "Report", "Planner", "Plans", "Lowering", "Strategies", "ModelGraph", "Hardware", "Documents", "Quantities", "Execution", "TestSupport",
        "tpplan",
      ]),
    .testTarget(
      name: "PlannerTests",
      dependencies: [
        "Planner", "Lowering", "Plans", "Search", "Strategies", "CostModel", "ModelGraph", "Hardware", "Documents", "Quantities", "TestSupport",
      ]),
    // Runs on every rank what ExecutionTests ask for; the tests start it through the launcher.
    .executableTarget(
      name: "execution-probe", dependencies: ["Execution", "Lowering", "Plans", "Strategies", "ModelGraph", "Kernels"],
      path: "Tests/ExecutionProbe"),
    .testTarget(
      name: "ExecutionTests",
      dependencies: [
        "Execution", "execution-probe", "tpplan", "Planner", "Lowering", "Plans", "ModelGraph", "Hardware", "Documents", "Quantities", "TestSupport",
      ],
      exclude: ["Golden"]),
    // Runs tpplan on a published checkpoint, which `make test-real` fetches.
    .testTarget(name: "RealModelTests", dependencies: ["Execution", "tpplan", "TestSupport"]),
  ]
)
