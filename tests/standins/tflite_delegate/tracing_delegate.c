/* A TFLite delegate for tests: it takes every RELU of a model and computes it itself.
 *
 * The structures are those of TensorFlow Lite's public C interface (tensorflow/lite/core/c/common.h and
 * delegates/external/external_delegate_interface.h, Apache-2.0), down to the fields used here; their order and
 * sizes are the interface. Checked against ai_edge_litert 2.3.0.
 *
 * Options: take=relu (default) or none; fail=create, prepare or crash; say=FILE gets "key=value" lines and what was done.
 */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;

enum { kRelu = 19 }; /* BuiltinOperator_RELU */

typedef struct {
  int size;
  int data[];
} TfLiteIntArray;

typedef struct {
  int type;
  union {
    float* f;
    void* raw;
  } data;
  TfLiteIntArray* dims;
  struct {
    float scale;
    int32_t zero_point;
  } params;
  int allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  void* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  struct {
    int type;
    void* params;
  } quantization;
  void* sparsity;
  const TfLiteIntArray* dims_signature;
} TfLiteTensor;

typedef struct {
  TfLiteIntArray* inputs;
  TfLiteIntArray* outputs;
  /* more follows */
} TfLiteNode;

struct TfLiteContext;
struct TfLiteDelegate;

typedef struct {
  void* (*init)(struct TfLiteContext*, const char*, size_t);
  void (*free)(struct TfLiteContext*, void*);
  TfLiteStatus (*prepare)(struct TfLiteContext*, TfLiteNode*);
  TfLiteStatus (*invoke)(struct TfLiteContext*, TfLiteNode*);
  const char* (*profiling_string)(const struct TfLiteContext*, const TfLiteNode*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* async_kernel;
  uint64_t inplace_operator;
} TfLiteRegistration;

typedef struct TfLiteContext {
  size_t tensors_size;
  TfLiteStatus (*GetExecutionPlan)(struct TfLiteContext*, TfLiteIntArray**);
  TfLiteTensor* tensors;
  void* impl_;
  TfLiteStatus (*ResizeTensor)(struct TfLiteContext*, TfLiteTensor*, TfLiteIntArray*);
  void (*ReportError)(struct TfLiteContext*, const char*, ...);
  TfLiteStatus (*AddTensors)(struct TfLiteContext*, int, int*);
  TfLiteStatus (*GetNodeAndRegistration)(struct TfLiteContext*, int, TfLiteNode**, TfLiteRegistration**);
  TfLiteStatus (*ReplaceNodeSubsetsWithDelegateKernels)(struct TfLiteContext*, TfLiteRegistration,
                                                        const TfLiteIntArray*, struct TfLiteDelegate*);
  /* more follows */
} TfLiteContext;

typedef struct TfLiteDelegate {
  void* data_;
  TfLiteStatus (*Prepare)(TfLiteContext*, struct TfLiteDelegate*);
  TfLiteStatus (*CopyFromBufferHandle)(TfLiteContext*, struct TfLiteDelegate*, int, TfLiteTensor*);
  TfLiteStatus (*CopyToBufferHandle)(TfLiteContext*, struct TfLiteDelegate*, int, TfLiteTensor*);
  void (*FreeBufferHandle)(TfLiteContext*, struct TfLiteDelegate*, int*);
  int64_t flags;
  void* opaque_delegate_builder;
} TfLiteDelegate;

typedef struct {
  TfLiteDelegate delegate;
  bool takes_relu;
  bool fails_to_prepare;
  FILE* log;
} Traced;

static FILE* running_log;

static TfLiteStatus relu(TfLiteContext* context, TfLiteNode* node) {
  const TfLiteTensor* from = &context->tensors[node->inputs->data[0]];
  TfLiteTensor* to = &context->tensors[node->outputs->data[0]];
  if (from->bytes != to->bytes) {
    context->ReportError(context, "relu of %zu bytes to %zu", from->bytes, to->bytes);
    return kTfLiteError;
  }
  for (size_t i = 0; i < from->bytes / sizeof(float); i++) {
    to->data.f[i] = from->data.f[i] > 0 ? from->data.f[i] : 0;
  }
  if (running_log) {
    fprintf(running_log, "invoked\n");
    fflush(running_log);
  }
  return kTfLiteOk;
}

/* Partitions may hold several nodes; relu of relu is relu, so the ends of a partition are enough. */
static TfLiteStatus prepare(TfLiteContext* context, TfLiteDelegate* delegate) {
  Traced* traced = delegate->data_;
  TfLiteIntArray* plan = NULL;
  if (traced->fails_to_prepare) {
    context->ReportError(context, "the tracing delegate was asked to refuse");
    return kTfLiteError;
  }
  if (!traced->takes_relu || context->GetExecutionPlan(context, &plan) != kTfLiteOk) return kTfLiteOk;
  TfLiteIntArray* taken = calloc(1, sizeof(int) * (size_t)(plan->size + 1));
  for (int i = 0; i < plan->size; i++) {
    TfLiteNode* node = NULL;
    TfLiteRegistration* registration = NULL;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != kTfLiteOk) continue;
    if (registration->builtin_code == kRelu) taken->data[taken->size++] = plan->data[i];
  }
  TfLiteRegistration kernel = {.invoke = relu, .custom_name = "TracingRelu", .version = 1};
  running_log = traced->log;
  TfLiteStatus status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, taken, delegate);
  free(taken);
  return status;
}

void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  Traced* traced = calloc(1, sizeof(Traced));
  traced->takes_relu = true;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "say")) traced->log = fopen(values[i], "w");
  }
  for (size_t i = 0; i < count; i++) {
    if (traced->log) fprintf(traced->log, "%s=%s\n", keys[i], values[i]);
    if (!strcmp(keys[i], "take")) traced->takes_relu = !strcmp(values[i], "relu");
    if (strcmp(keys[i], "fail")) continue;
    if (!strcmp(values[i], "create")) {
      report("no accelerator is plugged in");
      return NULL;
    }
    if (!strcmp(values[i], "crash")) raise(SIGSEGV);
    traced->fails_to_prepare = true;
  }
  traced->delegate.data_ = traced;
  traced->delegate.Prepare = prepare;
  return &traced->delegate;
}

void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {
  if (delegate == NULL) return;
  Traced* traced = delegate->data_;
  if (traced->log) fclose(traced->log);
  running_log = NULL;
  free(traced);
}
