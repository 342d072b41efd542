// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Plans
import TestSupport

@testable import Launches

/// Models, hardware and scripts that several tests use.
enum Samples {
  static let folder = CommandLineRun.folder.path

  static func hardware(_ name: String) throws -> HardwareFile { try HardwareFile(readingFrom: "\(folder)/hardware/\(name).json") }

  static func model(_ name: String) throws -> Graph { try ModelReader.read("\(folder)/models/\(name).json").graph }

  static func plan(_ planned: PlanOutcome.Planned, on hardware: HardwareFile) -> Plan {
    Plan(
      decision: planned.decision, prediction: planned.prediction, certificate: planned.certificate, hardware: hardware, modelSHA256: "",
      hardwareSHA256: "", assumptions: [])
  }

  /// GPT-3 175B on 64 GPUs with sequence parallelism and selective recomputing (Korthikanti et al. 2022, table 5), in the form of Megatron-LM's
  /// examples/gpt3/train_gpt3_175b_distributed.sh.
  static let gpt3 = """
    #!/bin/bash
    # GPT-3 175B
    export CUDA_DEVICE_MAX_CONNECTIONS=1

    GPUS_PER_NODE=8
    NUM_NODES=8
    WORLD_SIZE=$(($GPUS_PER_NODE*$NUM_NODES))
    CHECKPOINT_PATH=$1 #<Specify path>

    DISTRIBUTED_ARGS=(
        --nproc_per_node $GPUS_PER_NODE
        --nnodes ${NUM_NODES}
        --master_addr ${MASTER_ADDR:-localhost}
    )

    GPT_MODEL_ARGS=(
        --num-layers 96
        --hidden-size 12288   # features
        --num-attention-heads 96
        --seq-length 2048
        --max-position-embeddings 2048
        --attention-backend unfused
    )

    TRAINING_ARGS="
        --micro-batch-size 1 --global-batch-size 64 \\
        --train-iters 500000
        --fp16
        --lr 6.0e-5"

    MODEL_PARALLEL_ARGS=(
    \t--tensor-model-parallel-size 8
    \t--pipeline-model-parallel-size 8
        --num-layers-per-virtual-pipeline-stage 4
        --sequence-parallel
        --recompute-activations
    )

    DATA_ARGS=(
        --vocab-file gpt2-vocab.json
        --merge-file 'gpt2 merges.txt'
        --split 949,50,1
    )

    torchrun ${DISTRIBUTED_ARGS[@]} pretrain_gpt.py \\
        ${GPT_MODEL_ARGS[@]} \\
        ${TRAINING_ARGS} \\
        "${MODEL_PARALLEL_ARGS[@]}" \\
        ${DATA_ARGS[@]} \\
        --log-interval 100 --save "$CHECKPOINT_PATH"
    """
}
