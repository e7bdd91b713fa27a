// What torch's core asks of "cuda" in a build without it: a guard of devices with nothing to switch, for autograd's
// threads and for `.to("cuda")`, and hooks that say that there are devices. Load it before torch asks for the hooks.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>

namespace {
using namespace c10;

DeviceIndex count() {
  static const char* const text = std::getenv("FAKE_GPUS");
  static const DeviceIndex number = text ? static_cast<DeviceIndex>(std::atoi(text)) : 1;
  return number;
}

thread_local DeviceIndex current = 0;

struct Pretended final : impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  void setDevice(Device device) const override { current = device.index(); }
  void uncheckedSetDevice(Device device) const noexcept override { current = device.index(); }
  Device exchangeDevice(Device device) const override {
    const Device before = getDevice();
    current = device.index();
    return before;
  }
  Stream getStream(Device device) const override { return Stream(Stream::DEFAULT, device); }
  Stream exchangeStream(Stream stream) const override { return stream; }
  DeviceIndex deviceCount() const noexcept override { return count(); }
};
} // namespace
C10_REGISTER_GUARD_IMPL(CUDA, Pretended)

extern "C" void fake_gpu_set_device(int index) { current = static_cast<c10::DeviceIndex>(index); }

namespace at {
struct CUDAHooks final : CUDAHooksInterface {
  CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex deviceCount() const override { return count(); }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex index) const override { current = index; }
  int getNumGPUs() const override { return count(); }
  void deviceSynchronize(DeviceIndex) const override {}
};
REGISTER_CUDA_HOOKS(CUDAHooks);
} // namespace at
