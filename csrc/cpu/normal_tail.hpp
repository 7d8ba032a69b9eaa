// The normal distribution's tail, 1 - Phi(a), for 0 <= a, in pieces that one register holds.

#pragma once

#include <cstddef>

namespace lic_fast::cpu {

/// Width of a piece, and how many there are; piece i is around i kTailPiece, and the last ends
/// there.
inline constexpr float kTailPiece = 0.375f;
inline constexpr std::size_t kTailPieces = 16;
/// Coefficients of the pieces' polynomials in the distance from i kTailPiece: of degree 4, equal to
/// the tail at Chebyshev's points of each piece; the last is the least sum of squares of those that
/// end in zero. Together they are off by 1.4e-7 at most, and a times them by as much.
alignas(64) inline constexpr float kTail[5][kTailPieces] = {
    {0.5f, 0.353830248f, 0.22662735f, 0.130294517f, 0.066807203f, 0.0303963609f, 0.0122244731f,
     0.00433244836f, 0.00134989806f, 0.000369078451f, 8.84172841e-05f, 1.85367371e-05f,
     3.39767303e-06f, 5.4404228e-07f, 7.60496022e-08f, 0.0f},
    {-0.398938447f, -0.371852487f, -0.301137477f, -0.211878672f, -0.12951985f, -0.068787545f,
     -0.0317398347f, -0.012723811f, -0.00443142187f, -0.00134084071f, -0.000352463103f,
     -8.04907177e-05f, -1.59685769e-05f, -2.75211482e-06f, -4.12038304e-07f, -7.13268207e-07f},
    {0.0f, 0.069721818f, 0.112925366f, 0.119180106f, 0.0971384495f, 0.0644876733f, 0.0357074924f,
     0.0167006049f, 0.00664773071f, 0.00226306356f, 0.000661065744f, 0.000166090656f,
     3.59547776e-05f, 6.7151218e-06f, 1.08313623e-06f, -1.25104871e-05f},
    {0.0660539195f, 0.0529651903f, 0.021963872f, -0.00914909784f, -0.0267257877f, -0.0286956634f,
     -0.021469688f, -0.0125344554f, -0.00595769007f, -0.0023541525f, -0.000782704155f,
     -0.000220634131f, -5.30027755e-05f, -1.08910326e-05f, -1.91938716e-06f, -9.02926258e-05f},
    {0.0f, -0.0164982602f, -0.0228050593f, -0.0171679556f, -0.00609977078f, 0.00270979363f,
     0.00609363848f, 0.00540144648f, 0.00332868821f, 0.00159092143f, 0.000615288096f,
     0.000196748268f, 5.26791991e-05f, 1.1907222e-05f, 2.28491649e-06f, -0.000212887506f},
};

}  // namespace lic_fast::cpu
