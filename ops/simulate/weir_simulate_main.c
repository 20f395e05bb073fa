/* weir-simulate: the program behind `weir simulate`. */
#include "ops/simulate/batch.h"

int main(int argc, char **argv)
{
    return simulate_main(argc, argv);
}
