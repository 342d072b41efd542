// SPDX-License-Identifier: GPL-3.0-or-later
import Launches
import Testing

@Test func anInexpressiblePlanNamesItsLayer() {
  #expect(Inexpressible("layer 3", "is split by columns").description == "layer 3: is split by columns")
}
