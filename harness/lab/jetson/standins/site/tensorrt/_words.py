"""What the library writes to its log, in its own words: from reports of its users, and runs of TensorRT-RTX."""
# ruff: noqa: E501 - its lines are long

TACTIC_LEFT_OUT = (
    "Tactic Device request: {wanted}MB Available: {available}MB. Device memory is insufficient to use tactic."
)
SKIPPING = (
    "Skipping tactic 0 due to insufficient memory on requested size of {size} detected for tactic "
    "0x0000000000000000."
)
NO_IMPLEMENTATION = "Could not find any implementation for node {node}."
NOT_ALLOCATED = (
    "Requested amount of GPU memory ({size} bytes) could not be allocated. There may not be enough free memory "
    "for allocation to succeed."
)
NO_CUDA = (
    "CUDA initialization failure with error: {code}. Please check your CUDA installation: "
    "http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html"
)

NO_OUTPUT = "Network must have at least one output"
NO_PROFILE = "Network has dynamic or shape inputs, but no optimization profile has been defined."
MISSING_IN_PROFILE = "{name}: optimization profile is missing values for shape input"
OUT_OF_PROFILE = (
    "{name}: for dimension number {axis} in profile {profile} does not match network definition (got min={low}, "
    "opt={usual}, max={high}), expected min=opt=max={size})."
)
SHAPE_OUT_OF_RANGE = (
    "3: [executionContext.cpp::setInputShape::2020] Error Code 3: API Usage Error (Parameter check failed at: "
    "engine.cpp::setBindingDimensions::1125, condition: profileMaxDims.d[i] >= dimensions.d[i]. Supplied binding "
    "dimension {shape} for {name} exceed min ~ max range, maximum dimension in profile is {high}, minimum dimension "
    "in profile is {low}.)"
)
NO_ADDRESS = "Address is not set for tensor {name}. Call setInputTensorAddress or setTensorAddress before enqueue/execute."
NO_SHAPE = "input shape of {name} has not been specified"

SLOW_FP16 = "Half2 support requested on hardware without native FP16 support, performance will be negatively affected."
SLOW_INT8 = (
    "Int8 support requested on hardware without native Int8 support, performance will be negatively affected."
)
INT8_NOT_ALLOWED = (
    "Int8 precision has been set for a layer or layer output, but int8 is not configured in the builder"
)
CALIBRATOR_IGNORED = (
    "Calibrator won't be used in explicit precision mode. Use quantization aware training to generate network with "
    "Quantize/Dequantize nodes."
)
NO_CALIBRATOR = "Calibrator is not being used. Users must provide dynamic range for all tensors that are not Int32 or Bool."
CALIBRATION_PROFILE = "Calibration Profile is not defined. Running calibration with Profile 0"
NOTHING_CALIBRATED = "Calibration failure occurred with no scaling factors detected."
DLA_REFUSES = (
    "Default DLA is enabled but layer {layer} is not supported on DLA and falling back to GPU is not enabled."
)
DLA_FALLS_BACK = "Default DLA is enabled but layer {layer} is not supported on DLA, falling back to GPU."

_SERIALIZATION = "1: [stdArchiveReader.cpp::StdArchiveReader::{}] Error Code 1: Serialization (Serialization "
NO_PLAN = _SERIALIZATION.format(32) + "assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match)"
PLAN_CUT_SHORT = (
    _SERIALIZATION.format(46) + "assertion sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.Size "
    "specified in header does not match archive size)"
)
OTHER_VERSION_8_2 = (
    _SERIALIZATION.format(40)
    + "assertion stdVersionRead == serializationVersion failed.Version tag does not "
    "match. Note: Current Version: {ours}, Serialized Engine Version: {theirs})"
)
OTHER_VERSION = (
    "6: The engine plan file is not compatible with this version of TensorRT, expecting library version {ours} got "
    "{theirs}, please rebuild."
)
OTHER_DEVICE = (
    "6: The engine plan file is generated on an incompatible device, expecting compute {ours} got compute {theirs}, "
    "please rebuild."
)
NOT_DESERIALIZED = "4: [runtime.cpp::deserializeCudaEngine::50] Error Code 4: Internal Error (Engine deserialization failed.)"

NOT_ONNX = "Assertion failed: model->ParseFromCodedStream(&codedInput): Failed to parse the ONNX model."  # 10 and later
NOT_ONNX_8 = (
    'Assertion failed: onnx_model->ParseFromCodedStream(&coded_input) && "Failed to parse the ONNX model."'
)
NO_PLUGIN = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
NO_IMPORTER = "No importer registered for op: {op}"
IMPLICIT_BATCH = (
    'Assertion failed: !_importer_ctx.network()->hasImplicitBatchDimension() && "This version of the ONNX parser '
    "only supports TensorRT INetworkDefinitions with an explicit batch dimension. Please ensure the network was "
    'created using the EXPLICIT_BATCH NetworkDefinitionCreationFlag."'
)
BAD_TYPE = (
    "Assertion failed: convertDtype(onnxDtype.elem_type(), &trtDtype) && "
    '"Failed to convert ONNX date type to TensorRT data type."'
)
INT64 = (
    "onnx2trt_utils.cpp:366: Your ONNX model has been generated with INT64 weights, while TensorRT does not natively "
    "support INT64. Attempting to cast down to INT32."
)
AT_NODE = 'ModelImporter.cpp:773: While parsing node number {position} [{op} -> "{output}"]:'
