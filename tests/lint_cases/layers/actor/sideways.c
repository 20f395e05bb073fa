#include "learner/advantage.h"
#include "decode.h"
#include "kernels/ref/ref.h"
#include "proto/rollout.pb-c.h"
