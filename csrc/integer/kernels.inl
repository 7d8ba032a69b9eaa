// All kernels, for the instruction set of the file that includes this inside its unnamed namespace:
// it defines LIC_FAST_TARGET and what these files ask for. Each builds on those before it.

#include "integer/exact.inl"
//
#include "integer/transformer.inl"
//
#include "integer/end.inl"
//
#include "integer/rows.inl"
//
#include "integer/products.inl"
//
#include "integer/winograd.inl"
//
#include "integer/pointwise.inl"
