#include "actor/actor.h"
