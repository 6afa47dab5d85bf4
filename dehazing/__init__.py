"""The science: haze, latents, restoration and degradation step by step.

It needs torch and numpy and knows nothing of Ray, Optuna or MLflow.

Notation (the source's letters; "Eq. n" counts its 23 displayed equations)

    t = 0 … T       level of haze: 0 the clean endpoint, T the haziest (the pinhole open)
    x_t             image at level t                          (N, 1, Y, X), normalised per level
    z_t             its latent, a tuple z_1 (finest) … z_n (coarsest)   each (N, C_i, Y/2^i, X/2^i)
    E, Dec          HVAE encoder and decoder, z_t = E(x_t)    Eq. 6-10
    R               restorer, z0_hat = R(z_t, t)              Eq. 3-5 in pixels, Eq. 11-12 in latents
    G, F            degrader and its reverse for one step     Eq. 13-16; G(z0_hat, s) goes to level s = t - 1
    D_X, D_Y        their discriminators, on X_t = {z0_hat} and Y_t = {z_{t-1}}
    haze_alpha      alpha_t of Eq. 2, the share of haze in x_t
    combine_alpha   alpha_t of Eq. 22-23, the share of the new prediction; a different thing with the same letter
    P               E∘Dec, the projection through the HVAE

The source writes D_psi^(t) in Eq. 19 for what it calls G_psi^(t) in Eq. 14; here it is always G.
"""
