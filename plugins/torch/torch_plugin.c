/* SPDX-License-Identifier: MIT
 * The descriptor and the vtable. */
#include "torch_plugin.h"

static torch_framework the_torch;

static ab_status probe(const ab_call *call, ab_framework_info *info) {
  return abpy_probe(call, info, "torch", "torch");
}

static ab_status start(const ab_call *call) {
  torch_framework *torch = call->self;
  return torch->started ? AB_OK : torch_bring_up(torch, call);
}

static const ab_plugin_vtable slots = {
    .struct_size = (uint32_t)sizeof slots,
    .to_dlpack = torch_to_dlpack,
    .from_dlpack = torch_from_dlpack,
    .to_host = torch_to_host,
    .from_host = torch_from_host,
    .is_oom = torch_is_oom,
    .clear_cache = torch_clear_cache,
    .make_stream = torch_make_stream,
    .recognizes = torch_recognizes,
    .describe = torch_describe,
    .capabilities = torch_capabilities,
    .retain = abpy_retain,
    .release = abpy_release,
    .probe = probe,
    .start = start,
    .devices = torch_devices,
    .current_stream = torch_current_stream,
    .adopt_stream = torch_adopt_stream,
    .drop_stream = torch_drop_stream,
    .enter_stream = torch_enter_stream,
    .exit_stream = torch_exit_stream,
    .import_stream = torch_current_stream,
    .mark_use = torch_mark_use,
    .fence = torch_fence,
    .finish = torch_finish,
    .cast = torch_cast,
    .empty = torch_empty,
    .memory_info = torch_memory_info,
};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)error;
  abpy_init(services);
  the_torch.services = services;
  plugin->self = &the_torch;
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = (uint32_t)sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "torch",
    .version = "0.9.0",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_PYTHON,
    .runtime_abi = ABPY_RUNTIME_ABI,
    .flags = AB_PLUGIN_MAIN_INTERPRETER_ONLY | AB_PLUGIN_DELETER_ANY_THREAD | AB_PLUGIN_RELEASES_BEFORE_DONE |
             AB_PLUGIN_ALLOC_STREAM_KEYED,
    .create = create,
};
